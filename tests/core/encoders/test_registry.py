"""Encoders by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from usad_workbench.core.encoders import students
from usad_workbench.core.encoders.registry import (
    encoder_spec,
    encoder_specs,
    encoder_status,
    get_weights,
    load_encoder,
    setup_encoders,
)
from usad_workbench.core.encoders.weights import CACHE_VARIABLE
from usad_workbench.core.errors import (
    CheckpointError,
    ConfigError,
    UnknownNameError,
    WeightsError,
)
from usad_workbench.core.models.checkpoint import save_student
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import build_student

NAMES = {
    "usad-demo": "student",
    "whisper-tiny.en": "teacher",
    "aisfx": "teacher",
    "musicnn": "teacher",
    "whisper-base": "control",
    "ge2e": "control",
    "crepe-tiny": "control",
    "log-mel-statistics": "baseline",
    "mfcc-statistics": "baseline",
    "untrained-student": "baseline",
}
TEACHERS = [
    {"teacher": "whisper-tiny.en", "domain": "speech", "stage": 1},
    {"teacher": "ge2e", "domain": None, "stage": 2},
]


def write_student(folder: Path, seed: int = 0, **provenance: object) -> Path:
    config = StudentConfig(dim=32, n_layers=2, n_heads=2, frame_rate_hz=25)
    return save_student(folder, build_student(config, seed), None, provenance)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints of different weights."""
    for step in (100, 200):
        folder = tmp_path / "my run" / "checkpoints" / f"step-{step}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_student(folder, seed=step, licence="CC0-1.0", teachers=TEACHERS)
    return tmp_path / "my run"


def test_the_built_in_encoders_are_listed_with_their_roles() -> None:
    assert {name: spec.role for name, spec in setup_encoders().items()} == NAMES
    assert all(name == spec.name for name, spec in encoder_specs().items())


def test_every_teacher_domain_has_a_teacher_and_aisfx_is_attributed() -> None:
    specs = setup_encoders()
    teachers = {spec.domain for spec in specs.values() if spec.role == "teacher"}
    assert teachers == {"speech", "sound", "music"}
    assert specs["aisfx"].licence == "CC BY 4.0, A.B. Ma and A. Lerch"


def test_listing_imports_neither_torch_nor_librosa() -> None:
    code = (
        "import sys; from usad_workbench.core.encoders.registry import encoder_specs, encoder_status; "
        "[encoder_status(name) for name in encoder_specs()]; "
        "print([m for m in ('torch', 'librosa', 'transformers', 'soundfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean.*whisper-tiny\.en.*run:DIR"):
        load_encoder("whisper-tiny")
    with pytest.raises(UnknownNameError, match="Did you mean ge2e"):
        encoder_status("ge2")


def test_missing_weights_are_a_status_and_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    status = encoder_status("musicnn")
    assert not status.available
    assert "usad encoders get musicnn" in status.reason
    assert "musicnn 0.1.0" in status.reason
    with pytest.raises(WeightsError, match="usad encoders get musicnn"):
        load_encoder("musicnn")


def test_an_encoder_without_weights_has_none_to_get() -> None:
    assert encoder_status("mfcc-statistics").available
    assert get_weights("mfcc-statistics") is None
    with pytest.raises(UnknownNameError):
        get_weights("nothing")


def test_devices_are_checked() -> None:
    assert load_encoder("mfcc-statistics", device="auto").device.type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="no device"):
        load_encoder("mfcc-statistics", device="gpu")
    if torch.cuda.device_count() < 9:
        with pytest.raises(ConfigError, match="CUDA devices were found"):
            load_encoder("mfcc-statistics", device="cuda:8")


def test_the_untrained_student_is_the_same_every_time() -> None:
    first, second = load_encoder("untrained-student"), load_encoder("untrained-student")
    assert first.weights_sha256 == second.weights_sha256


def test_a_run_is_its_last_checkpoint(run: Path) -> None:
    name = f"run:{run}"
    last, first = load_encoder(name), load_encoder(f"{name}@100")
    assert last.spec.name == name and first.spec.name == f"{name}@100"
    assert last.spec == encoder_spec(name)
    assert last.spec.role == "student" and last.spec.licence == "CC0-1.0"
    assert last.spec.dims == (32, 32, 32)
    assert last.weights_sha256 == load_encoder(f"{name}@200").weights_sha256
    assert last.weights_sha256 != first.weights_sha256
    assert encoder_status(name).available


def test_a_run_says_who_taught_it(run: Path) -> None:
    expected = (("whisper-tiny.en", "speech", 1), ("ge2e", None, 2))
    assert encoder_spec(f"run:{run}").taught_by == expected
    assert load_encoder(f"run:{run}").spec.taught_by == expected
    assert students.trained_student_spec(f"run:{run}") == encoder_spec(f"run:{run}")
    assert encoder_spec("musicnn").taught_by == ()
    assert students.trained_student_spec("musicnn") is None


def test_a_student_says_what_its_trainings_began_with(tmp_path: Path) -> None:
    start = {"weights_sha256": "b", "start": {"weights_sha256": "a", "start": None}}
    folder = write_student(tmp_path / "student", start=start)
    assert encoder_spec(f"run:{folder}").began_with == ("b", "a")
    assert encoder_spec("usad-demo").taught_by and encoder_spec("musicnn").began_with == ()


def test_a_damaged_record_of_teachers_is_an_error(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student", teachers=["musicnn"])
    with pytest.raises(CheckpointError, match="records its teachers"):
        encoder_spec(f"run:{folder}")


def test_a_folder_of_a_student_is_taken_too(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "me@home@3")
    assert load_encoder(f"run:{folder}").spec.n_layers == 2
    assert encoder_spec(f"run:{folder}").taught_by == ()


@pytest.mark.parametrize("text", ["", "nowhere", "nowhere@100"])
def test_a_run_that_does_not_exist_is_a_checkpoint_error(text: str) -> None:
    with pytest.raises(CheckpointError, match="names no folder"):
        load_encoder(f"run:{text}")
    assert not encoder_status(f"run:{text}").available


def test_a_step_that_does_not_exist_names_those_that_do(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"100, 200"):
        load_encoder(f"run:{run}@150")


def test_an_empty_run_has_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_encoder(f"run:{tmp_path}")


def test_the_shipped_student_is_read_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "SHIPPED_FOLDER", tmp_path / "shipped")
    assert not encoder_status("usad-demo").available
    write_student(tmp_path / "shipped", teachers=TEACHERS)
    assert encoder_status("usad-demo").available
    assert encoder_spec("usad-demo").dims == (32, 32, 32)
    assert load_encoder("usad-demo").spec == encoder_spec("usad-demo")
    assert encoder_spec("usad-demo").taught_by[0] == ("whisper-tiny.en", "speech", 1)


@pytest.mark.parametrize("damage", ["{", "[]", '{"student": {}}', '{"student": 3}'])
def test_a_damaged_shipped_student_does_not_spoil_the_list(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "SHIPPED_FOLDER", tmp_path)
    (tmp_path / "config.json").write_text(damage)
    assert set(setup_encoders()) == set(NAMES)
    assert "config.json" in encoder_status("usad-demo").reason
    with pytest.raises(CheckpointError):
        load_encoder("usad-demo")


def test_a_shipped_student_that_is_not_the_listed_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_student(tmp_path / "shipped")
    monkeypatch.setattr(students, "SHIPPED_FOLDER", tmp_path / "shipped")
    path = tmp_path / "shipped" / "config.json"
    description = json.loads(path.read_text())
    description["student"]["n_layers"] = 1
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError):
        load_encoder("usad-demo")
