"""The students that lack one teacher: who taught them, and that they are loadable by name."""

import hashlib
import json

import numpy as np
import pytest
import torch

from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.registry import (
    encoder_spec,
    encoder_specs,
    encoder_status,
    load_encoder,
)
from usad_workbench.core.encoders.students import CONTROL_FOLDER, CONTROLS
from usad_workbench.core.errors import UnknownNameError

WHISPER = ("whisper-tiny.en", "speech", 1)
AISFX = ("aisfx", "sound", 1)
MUSICNN = ("musicnn", "music", 1)
TAUGHT = {
    "usad-ablation-full": [WHISPER, AISFX, MUSICNN],
    "usad-without-whisper": [AISFX, MUSICNN],
    "usad-without-aisfx": [WHISPER, MUSICNN],
    "usad-without-musicnn": [WHISPER, AISFX],
}


def describe(name: str) -> dict:  # type: ignore[type-arg]
    return dict(json.loads((CONTROL_FOLDER / CONTROLS[name] / "config.json").read_text()))


@pytest.mark.parametrize("name", CONTROLS)
def test_each_records_its_teachers(name: str) -> None:
    assert list(encoder_spec(name).taught_by) == TAUGHT[name]


def test_they_differ_in_their_teachers_alone() -> None:
    full = describe("usad-ablation-full")
    for name in CONTROLS:
        one = describe(name)
        assert one["student"] == full["student"]
        for key in ("data", "objective", "start", "stage", "step", "audio_s", "licence"):
            assert one["provenance"][key] == full["provenance"][key], (name, key)
        kept = [t for t in full["provenance"]["teachers"] if t in one["provenance"]["teachers"]]
        assert one["provenance"]["teachers"] == kept
    assert full["provenance"]["licence"] == "CC-BY-SA-4.0"


@pytest.mark.parametrize("name", CONTROLS)
def test_their_weights_are_those_that_were_trained(name: str) -> None:
    weights = (CONTROL_FOLDER / CONTROLS[name] / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == describe(name)["sha256"]["model.safetensors"]
    assert len(weights) < 1_500_000


def test_each_loads_and_embeds_what_no_other_does() -> None:
    rng = np.random.default_rng(0)
    clip = Clip(samples=rng.normal(0, 0.1, 16_000).astype(np.float32), sample_rate_hz=16_000)
    vectors = {}
    for name in CONTROLS:
        encoder = load_encoder(name)
        assert encoder.spec == encoder_spec(name) and encoder.spec.role == "control"
        features = encoder.features(ClipBatch.from_clips([clip]), (0, 4))
        assert features.frames[1].shape == (1, 25, 96)
        assert bool(features.frames[1].isfinite().all())
        vectors[name] = features.frames[1].mean(1).flatten()
    for name, vector in vectors.items():
        others = [other for key, other in vectors.items() if key != name]
        assert min(float((vector - other).abs().max()) for other in others) > 0.05
    assert torch.isfinite(torch.stack(list(vectors.values()))).all()


def test_they_are_known_by_name_and_in_no_list() -> None:
    assert not set(CONTROLS) & set(encoder_specs())
    assert all(encoder_status(name).available for name in CONTROLS)
    with pytest.raises(UnknownNameError, match="usad-without-musicnn"):
        load_encoder("usad-without-musicn")
    card = (CONTROL_FOLDER / "MODEL_CARD.md").read_text()
    assert all(f"| `{name}` |" in card for name in CONTROLS)
