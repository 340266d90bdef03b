"""The Hugging Face folder: same numbers, with our package and without it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from tests.core.interop.conftest import CONFIG, PROVENANCE, clips
from usad_workbench.core.errors import ConfigError, ShapeError, UnknownNameError
from usad_workbench.core.interop.bundle import bundle_sources
from usad_workbench.core.interop.huggingface import export_huggingface, register_with_transformers
from usad_workbench.core.interop.modeling_usad import UsadModel
from usad_workbench.core.interop.source import LoadedStudent
from usad_workbench.core.models.checkpoint import load_student


@pytest.fixture(scope="module")
def folder(source: LoadedStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hub") / "tiny-student"
    files = export_huggingface(source, made)
    assert files == sorted(made.iterdir())
    return made


@torch.no_grad()
def test_the_folder_gives_what_the_student_gives(folder: Path, student_dir: Path) -> None:
    model = UsadModel.from_pretrained(folder)
    assert not model.training
    samples, lengths = clips(40_000, 17_000)  # more than one part, and padding
    expected = load_student(student_dir).student(samples, lengths)
    mask = (torch.arange(40_000) < lengths.unsqueeze(1)).long()
    for found in (model(samples, lengths=lengths), model(samples, attention_mask=mask)):
        assert torch.allclose(found.x, expected.x, atol=1e-6)
        assert torch.allclose(found.mel, expected.mel, atol=1e-6)
        assert torch.equal(found.n_valid, expected.n_valid)
        for name in ("hidden_states", "ffn"):
            pairs = zip(getattr(found, name), getattr(expected, name), strict=True)
            assert all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs)
    assert list(found)[:4] == ["x", "mel", "hidden_states", "ffn"]
    assert found["x"] is found.last_hidden_state
    assert torch.equal(model(samples, lengths=lengths, return_dict=False)[0], found.x)
    first = model(samples, lengths=lengths, target_layer=1)
    assert torch.equal(first.x, found.hidden_states[0]) and len(first.hidden_states) == 1
    with pytest.raises(UnknownNameError, match="9"):
        model(samples, target_layer=9)


def test_auto_classes_after_registration(folder: Path) -> None:
    register_with_transformers()
    register_with_transformers()
    config = AutoConfig.from_pretrained(folder)
    assert config.student_config() == CONFIG
    assert (config.hidden_size, config.num_hidden_layers) == (32, 2)
    assert config.provenance == PROVENANCE
    assert type(AutoModel.from_pretrained(folder)) is UsadModel


def test_what_lies_in_the_folder(folder: Path, source: LoadedStudent) -> None:
    described = json.loads((folder / "config.json").read_text())
    assert described["model_type"] == "usad_student"
    assert described["auto_map"]["AutoModel"] == "modeling_usad.UsadModel"
    assert {described[name] for name in ("dim", "n_layers", "n_heads")} == {32, 2}
    assert {file.suffix for file in folder.iterdir()} == {".json", ".py", ".md", ".safetensors"}
    card = (folder / "README.md").read_text()
    for expected in ("tiny \\| student", "voice", "CC-BY-4.0", source.weights_sha256):
        assert expected in card
    for file in folder.glob("*.py"):
        imports = [line for line in file.read_text().splitlines() if "import" in line]
        assert not [line for line in imports if line.strip().startswith("from usad_workbench")]


REMOTE = """
import sys
sys.modules["usad_workbench"] = None  # as if it were not installed
for name in ("soundfile", "soxr", "librosa", "duckdb", "pandas", "onnx"):
    sys.modules[name] = None
import numpy as np, torch
from pathlib import Path
from transformers import AutoConfig, AutoModel
torch.set_num_threads(1)
folder, cache, given, result, again = sys.argv[1:]
try:
    AutoModel.from_pretrained(folder, trust_remote_code=False)
except ValueError:
    assert not list(Path(cache).rglob("modeling_usad.py")), "code was copied unasked"
else:
    raise SystemExit("loaded without trust")
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
assert AutoConfig.from_pretrained(folder, trust_remote_code=True).dim == 32
model.save_pretrained(again)
copy = AutoModel.from_pretrained(again, trust_remote_code=True)
data = np.load(given)
with torch.no_grad():
    outputs = [
        m(torch.from_numpy(data["samples"]), lengths=torch.from_numpy(data["lengths"]))
        for m in (model, copy)
    ]
assert torch.equal(outputs[0].x, outputs[1].x)
np.savez(result, x=outputs[0].x, ffn=outputs[0].ffn[1], mel=outputs[0].mel)
assert not [name for name in sys.modules if name.startswith("usad_workbench.")]
"""


@torch.no_grad()
def test_without_this_package(folder: Path, source: LoadedStudent, tmp_path: Path) -> None:
    samples, lengths = clips(30_000, 9_000)
    np.savez(tmp_path / "given.npz", samples=samples, lengths=lengths)
    cache = tmp_path / "cache"
    paths = (folder, cache, tmp_path / "given.npz", tmp_path / "x.npz", tmp_path / "again")
    subprocess.run(
        [sys.executable, "-c", REMOTE, *map(str, paths)],
        check=True,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(cache)},
    )
    found, expected = np.load(tmp_path / "x.npz"), source.student(samples, lengths)
    assert np.abs(found["x"] - expected.x.numpy()).max() < 1e-6
    assert np.abs(found["ffn"] - expected.ffn[1].numpy()).max() < 1e-6
    assert np.abs(found["mel"] - expected.mel.numpy()).max() < 1e-6


@torch.no_grad()
def test_feature_extractor_pads_and_masks(folder: Path) -> None:
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = UsadModel.from_pretrained(folder)
    samples, lengths = clips(16_000, 9_000)
    alone = [row[:n].numpy() for row, n in zip(samples, lengths, strict=True)]
    inputs = extractor(alone, sampling_rate=16_000, padding=True, return_tensors="pt")
    assert torch.equal(inputs["input_values"], samples)  # nothing is normalised
    assert torch.equal(model(**inputs).x, model(samples, lengths=lengths).x)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_front_end(folder: Path, dtype: torch.dtype) -> None:
    samples, lengths = clips(16_000, 9_000)
    expected = UsadModel.from_pretrained(folder)(samples, lengths=lengths)
    loaded = UsadModel.from_pretrained(folder, dtype=dtype)
    converted = UsadModel.from_pretrained(folder).to(dtype)
    for model in (loaded, converted):
        found = model(samples, lengths=lengths)
        assert found.x.dtype == dtype
        assert torch.equal(found.mel, expected.mel)
        assert torch.nn.functional.mse_loss(found.x.float(), expected.x) < 1e-2 * expected.x.var()


def test_wrong_input_is_named(folder: Path) -> None:
    model = UsadModel.from_pretrained(folder)
    samples, lengths = clips(1_000, 800)
    mask = torch.ones_like(samples)
    mask[:, :100] = 0
    with pytest.raises(ShapeError, match="right"):
        model(samples, attention_mask=mask)
    with pytest.raises(ShapeError, match="at most one"):
        model(samples, attention_mask=torch.ones_like(samples), lengths=lengths)
    with pytest.raises(ShapeError, match="mono"):
        model(samples[0])


def test_nothing_is_overwritten(source: LoadedStudent, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine")
    for target in (kept, kept / "mine.txt"):
        with pytest.raises(ConfigError, match="exists"):
            export_huggingface(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "mine.txt").read_text() == "mine"


def test_a_bundle_refuses_what_cannot_lie_in_one_folder() -> None:
    with pytest.raises(ConfigError, match="no module with a file"):
        bundle_sources("usad_workbench.core")
