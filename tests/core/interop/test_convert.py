"""A published checkpoint becomes a student of ours, or nothing at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.core.encoders.remote_folder import keep_code_apart
from tests.core.interop.published_folder import NAMES, SIZE, write_published
from tests.full_disk import full_after
from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.encoders.trust import trusting_remote_code
from usad_workbench.core.errors import ConfigError, ProvenanceError
from usad_workbench.core.interop.convert import (
    NameMap,
    convert,
    read_map,
    student_config,
    write_map,
)
from usad_workbench.workbench.cli import main

MAP = NameMap(size="base", student=SIZE, names=NAMES)


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_code_apart(monkeypatch, tmp_path / "modules")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    write_published(tmp_path / "published")
    return tmp_path / "published"


def test_with_a_whole_map_every_weight_finds_its_place(published: Path, tmp_path: Path) -> None:
    with trusting_remote_code(True):
        assert convert(published, MAP, tmp_path / "ours", "MIT") <= 1e-4
        theirs = load_encoder(f"hf:{published}")
    ours = load_encoder(f"run:{tmp_path / 'ours'}")
    assert ours.spec.licence == "MIT" and ours.spec.n_layers == SIZE["n_layers"]
    samples = np.random.default_rng(9).normal(scale=0.2, size=24_000).astype(np.float32)
    clip = Clip(samples=samples, sample_rate_hz=16_000)
    for layer in (1, 2):
        found, expected = (one.encode(clip, (layer,)).frames[0] for one in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    kept = load_file(tmp_path / "ours" / "model.safetensors")
    weights = load_file(published / "model.safetensors")
    query = weights["encoder.layers.1.self_attn.attention.query_proj.weight"]
    assert torch.equal(kept["blocks.1.attention.query.weight"], query)


def swapped(a: str, b: str) -> NameMap:
    names = NAMES | {a: NAMES[b], b: NAMES[a]}
    return replace(MAP, names=names)


@pytest.mark.parametrize(
    "pair",
    [
        ("attention.query", "attention.key"),
        ("attention_norm", "ffn_norm"),
        ("attention.content_bias", "attention.position_bias"),
    ],
)
def test_two_exchanged_names_are_found_by_the_numbers(
    published: Path, tmp_path: Path, pair: tuple[str, str]
) -> None:
    wrong = swapped(*(f"blocks.{{i}}.{one}" for one in pair))
    with trusting_remote_code(True), pytest.raises(ProvenanceError, match="exchanged in the map"):
        convert(published, wrong, tmp_path / "ours", "MIT")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["modules", "published"]


def test_the_last_norm_counts_too(published: Path, tmp_path: Path) -> None:
    with trusting_remote_code(True), pytest.raises(ProvenanceError, match="differs"):
        convert(published, swapped("stem.norm", "final_norm"), tmp_path / "ours", "MIT")


def without(*patterns: str) -> Callable[[], NameMap]:
    return lambda: replace(MAP, names={k: v for k, v in NAMES.items() if k not in patterns})


REFUSED = {
    "two that are left": (
        without("blocks.{i}.attention.query", "blocks.{i}.attention.key"),
        r"ours blocks.{i}.attention.query, blocks.{i}.attention.key; theirs .*query_proj",
    ),
    "names that are still empty": (
        lambda: replace(MAP, names=NAMES | {"final_norm": "", "stem.norm": ""}),
        f"leaves 2 of {len(NAMES)} names empty: .*stem.norm",
    ),
    "another width": (lambda: replace(MAP, student=SIZE | {"dim": 64}), "same shapes"),
    "another depth": (lambda: replace(MAP, student=SIZE | {"n_layers": 3}), "same shapes"),
    "a name that is not there": (
        lambda: replace(MAP, names=NAMES | {"final_norm": "nowhere"}),
        "not left in the checkpoint",
    ),
    "one of theirs twice": (
        lambda: replace(MAP, names=NAMES | {"final_norm": NAMES["stem.norm"]}),
        "each once",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_guessed(published: Path, tmp_path: Path, case: str) -> None:
    given, words = REFUSED[case]
    with trusting_remote_code(True), pytest.raises(ConfigError, match=words):
        convert(published, given(), tmp_path / "ours", "MIT")
    assert not (tmp_path / "ours").exists()


def test_tensors_without_a_place_have_to_be_named(published: Path, tmp_path: Path) -> None:
    weights = load_file(published / "model.safetensors")
    weights["heads.0.weight"] = torch.zeros(7, 32)
    save_file(weights, published / "model.safetensors", metadata={"format": "pt"})
    with trusting_remote_code(True):
        with pytest.raises(ConfigError, match=r"ours none; theirs heads\.0"):
            convert(published, MAP, tmp_path / "ours", "MIT")
        convert(published, replace(MAP, unused=("heads.0",)), tmp_path / "ours", "MIT")


def test_a_map_that_is_written_keeps_what_was_told(published: Path, tmp_path: Path) -> None:
    """All but one name, and more of the architecture than its size says."""
    (first, other), *rest = NAMES.items()
    given = replace(MAP, names=dict(rest))
    write_map(published, tmp_path / "map.toml", given)
    found = read_map(tmp_path / "map.toml")
    assert found.student == given.student == SIZE and found.size == (given.size or "base")
    assert found.names == {first: "", **dict(rest)}
    assert student_config(found) == student_config(given)
    text = (tmp_path / "map.toml").read_text().replace(f'"{first}" = ""', f'"{first}" = "{other}"')
    (tmp_path / "full.toml").write_text(text)
    with trusting_remote_code(True):
        assert convert(published, read_map(tmp_path / "full.toml"), tmp_path / "ours", "MIT") < 1e-4


def test_a_map_is_written_whole_or_not_at_all(published: Path, tmp_path: Path) -> None:
    """Half a map would stand in the way of the next: nothing is overwritten."""
    before = sorted(tmp_path.iterdir())
    with full_after(100), pytest.raises(OSError, match="too large"):
        write_map(published, tmp_path / "map.toml", MAP)
    assert sorted(tmp_path.iterdir()) == before
    write_map(published, tmp_path / "map.toml", MAP)
    assert read_map(tmp_path / "map.toml").names == NAMES


def test_by_command_from_a_template(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, size = tmp_path / "map.toml", tmp_path / "size.toml"
    lines = "".join(f"{key} = {value}\n" for key, value in SIZE.items())
    size.write_text(f"[student]\n{lines}")
    asked = ["encoders", "convert", str(published)]
    assert main([*asked, "--map", str(size), "--write-map", str(path)]) == 0
    empty = [*asked, "--map", str(path), "--out", str(tmp_path / "ours"), "--trust-remote-code"]
    assert main(empty) == 2 and f"leaves {len(NAMES)} of" in capsys.readouterr().err
    text = path.read_text()
    assert '# "stem.conv1" = "encoder.subsample.sequential.0"' in text
    assert all(f'"{mine}" = ""' in text for mine in NAMES)
    for mine, other in NAMES.items():
        text = text.replace(f'"{mine}" = ""', f'"{mine}" = "{other}"')
    path.write_text(text)
    assert read_map(path).names == NAMES and read_map(path).student == SIZE
    done = [*asked, "--map", str(path), "--out", str(tmp_path / "ours")]
    assert main(done) == 2 and "--trust-remote-code" in capsys.readouterr().err
    assert main([*done, "--trust-remote-code", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert load_encoder(found["student"]).spec.n_layers == 2
    assert main([*done, "--trust-remote-code"]) == 2 and "exists" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        write_map(published, path, MAP)
