"""Model folders: which are taken, which are refused and in what words; code of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from tests.core.teachers.hub_folders import SAMPLES, WAVE, save
from tests.core.teachers.remote_folder import reference, write_remote_student
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import ConfigError, ShapeError, WeightsError
from usad_workbench.core.registry import encoder_status, get_weights, load_encoder
from usad_workbench.core.teachers import hub_cache
from usad_workbench.core.teachers.row import HubSource

RATE = 16_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's hub cache nor the copies that transformers makes of code."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(SAMPLES["wavlm-large"], tmp_path / "model")
    return tmp_path / "model"


def noise(n: int = RATE, seed: int = 0) -> Clip:
    samples = np.random.default_rng(seed).normal(scale=0.1, size=n).astype(np.float32)
    return Clip(samples=samples, sample_rate_hz=RATE)


def as_snapshot(folder: Path, hub: Path, repo: str) -> None:
    """The folder as the hub's client leaves it in its cache."""
    root = hub / f"models--{repo.replace('/', '--')}"
    commit = "0" * 40
    (root / "snapshots").mkdir(parents=True)
    folder.rename(root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)


def test_a_folder_by_its_path(folder: Path) -> None:
    name = f"hf:{folder}"
    assert encoder_status(name).available and get_weights(name) == folder
    encoder = load_encoder(name)
    assert encoder.spec.name == name and encoder.spec.role == "control"
    assert encoder.spec.dims == (32, 32, 32) and len(encoder.weights_sha256) == 64
    assert encoder.weights_sha256 == load_encoder(name).weights_sha256


def test_other_weights_or_another_front_end_have_another_hash(folder: Path) -> None:
    before = load_encoder(f"hf:{folder}").weights_sha256
    tf.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(
        folder
    )
    assert load_encoder(f"hf:{folder}").weights_sha256 != before


def test_a_repository_in_the_cache_needs_no_network(folder: Path, tmp_path: Path) -> None:
    expected = load_encoder(f"hf:{folder}").embed(noise(), -1)[0]
    as_snapshot(folder, tmp_path / "hub", "me/model")
    assert encoder_status("hf:me/model").available
    found = load_encoder("hf:me/model").embed(noise(), -1)[0]
    np.testing.assert_array_equal(found, expected)
    assert "hf:me/other" in encoder_status("hf:me/other").reason


def test_an_interrupted_download_is_not_there(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    as_snapshot(folder, tmp_path / "hub", "me/model")
    reason = encoder_status("hf:me/model").reason
    assert "usad encoders get hf:me/model" in reason
    with pytest.raises(WeightsError, match="encoders get hf:me/model"):
        load_encoder("hf:me/model")


def test_a_missing_shard_is_a_missing_model(folder: Path) -> None:
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"no model folder.*one\.safetensors"):
        load_encoder(f"hf:{folder}")


@pytest.mark.parametrize("name", ["hf:", "hf:nowhere", "hf:a/b/c", "hf:/no/such/folder"])
def test_names_that_name_nothing(name: str) -> None:
    with pytest.raises(WeightsError, match="OWNER/NAME"):
        load_encoder(name)
    assert not encoder_status(name).available


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(WeightsError, match=r"no model folder.*config\.json.*notes\.txt"):
        load_encoder(f"hf:{tmp_path}")
    with pytest.raises(WeightsError, match="no model folder"):
        get_weights(f"hf:{tmp_path}")


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_a_damaged_configuration(folder: Path, damage: str) -> None:
    (folder / "config.json").write_text(damage)
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_encoder(f"hf:{folder}")


def test_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"damaged|cannot load"):
        load_encoder(f"hf:{folder}")


def test_a_model_without_its_front_end(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="preprocessor_config"):
        load_encoder(f"hf:{folder}")


def test_a_model_of_text(tmp_path: Path) -> None:
    config = tf.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        vocab_size=30,
    )  # fmt: skip
    tf.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="audio model"):
        load_encoder(f"hf:{tmp_path}")


def test_weights_that_lack_tensors(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"lack \d+ tensors"):
        load_encoder(f"hf:{folder}")


def test_a_model_without_hidden_states(tmp_path: Path) -> None:
    code = (
        "import torch\nfrom torch import nn\n"
        "from transformers import PreTrainedConfig, PreTrainedModel\n"
        "class C(PreTrainedConfig):\n    model_type = 'odd'\n"
        "class M(PreTrainedModel):\n    config_class = C\n"
        "    def __init__(self, config):\n        super().__init__(config)\n"
        "        self.weight = nn.Parameter(torch.zeros(1))\n        self.post_init()\n"
        "    def forward(self, input_values, **more):\n        return {'logits': input_values}\n"
    )
    (tmp_path / "odd.py").write_text(code)
    config = {"model_type": "odd", "auto_map": {"AutoConfig": "odd.C", "AutoModel": "odd.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    tf.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"no hidden states.*logits"):
        load_encoder(f"hf:{tmp_path}", trust_remote_code=True)


def test_an_unlisted_type_is_read_through_its_hidden_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usad_workbench.core.teachers import transformers_families

    monkeypatch.delitem(transformers_families.FAMILIES, "wav2vec2")
    original: Any = save(SAMPLES["wav2vec2"], tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.spec.dims == (WAVE["hidden_size"],) * 3 and not encoder.spec.has_ffn
    assert encoder.spec.frame_rates_hz == (50.0,) * 3 and not encoder.spec.pads
    clip = noise(21_000)
    with torch.no_grad():
        values = torch.from_numpy(clip.samples)[None]
        expected = original(values, output_hidden_states=True).hidden_states
    for ours, theirs in zip(encoder.encode(clip).frames, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_code_of_a_folder_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    write_remote_student(tmp_path / "student")
    witness = tmp_path / "it ran"
    code = tmp_path / "student" / "configuration_usad.py"
    code.write_text(f"open({str(witness)!r}, 'w').close()\n" + code.read_text())
    with pytest.raises(ConfigError, match=r"modeling_usad\.py.*--trust-remote-code"):
        load_encoder(f"hf:{tmp_path / 'student'}")
    assert not witness.exists()
    load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)
    assert witness.exists()


@pytest.mark.parametrize(
    "line", ["len(None)", "raise NameError('torch_geometric')", "assert False, 'too old'"]
)
def test_code_that_this_transformers_does_not_run(tmp_path: Path, line: str) -> None:
    """As code written for another version: no traceback, and the folder is named."""
    write_remote_student(tmp_path / "student")
    code = tmp_path / "student" / "modeling_usad.py"
    before, definition, after = code.read_text().partition("    def forward(")
    code.write_text(f"{before}    def forward(self, *args, **kwargs):\n        {line}\n\n"
                    f"{definition.replace('forward', 'unused')}{after}")  # fmt: skip
    with pytest.raises(WeightsError, match=r"cannot load .*student"):
        load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)


def test_a_published_student_is_what_its_formulas_say(tmp_path: Path) -> None:
    weights = write_remote_student(tmp_path / "student")
    encoder = load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)
    spec = encoder.spec
    assert spec.dims == (128, 16, 16, 16) and spec.frame_rates_hz == (100.0, 50.0, 50.0, 50.0)
    assert spec.layer_names[0] == "log-mel" and spec.role == "student"
    clip = noise(20_123)
    expected = reference(weights, torch.from_numpy(clip.samples))
    batch = ClipBatch.from_clips([clip, noise(20_123, seed=1)])
    for kind, layers in (("block", range(4)), ("ffn", range(1, 4)), ("output", [3])):
        found = encoder.features(batch, layers, kind)  # type: ignore[arg-type]
        for ours, theirs in zip(found.frames, expected[kind], strict=True):
            torch.testing.assert_close(ours[0], theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(ShapeError, match="equal length"):
        encoder.features(ClipBatch.from_clips([clip, noise(9000)]))


def test_a_long_clip_of_a_published_student(tmp_path: Path) -> None:
    """The network sees 400 samples around a frame, so windows must not show at all."""
    weights = write_remote_student(tmp_path / "student")
    encoder = load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)
    clip = noise(41 * RATE)
    expected = reference(weights, torch.from_numpy(clip.samples))["block"]
    for ours, theirs in zip(encoder.encode(clip).frames, expected, strict=True):
        assert abs(ours.shape[1] - len(theirs)) <= 1
        n = min(ours.shape[1], len(theirs))
        torch.testing.assert_close(ours[0, :n], theirs[:n], rtol=1e-4, atol=1e-5)


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    source = HubSource(repo="me/model", licence="?", size_mb=1, is_gated=True)

    def broken(*args: Any, **kwargs: Any) -> str:
        raise OSError("cable cut")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", broken)
    with pytest.raises(WeightsError, match=r"cable cut.*what has come is kept"):
        hub_cache.fetch_snapshot("model", source)


def test_a_download_that_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(tmp_path))
    monkeypatch.setattr(hub_cache, "repository_files", lambda source: [])
    source = HubSource(repo="me/model", licence="?", size_mb=1)
    with pytest.raises(WeightsError, match="no model of transformers"):
        hub_cache.fetch_snapshot("model", source)


def test_loading_draws_nothing_from_the_generator(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    load_encoder(f"hf:{folder}")
    assert torch.equal(torch.rand(1), expected)


def test_asking_what_exists_imports_no_transformers() -> None:
    code = (
        "import sys; from usad_workbench.core.registry import encoder_specs, encoder_status; "
        "[encoder_status(name) for name in encoder_specs()]; "
        "sys.stdout.write(str([m for m in ('torch', 'transformers') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]"
