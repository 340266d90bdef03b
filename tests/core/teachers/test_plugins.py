"""Encoders of other installed distributions."""

import sys
from pathlib import Path

import pytest

from usad_workbench.core.clips import Clip
from usad_workbench.core.registry import encoder_specs, encoder_status, load_encoder, setup_encoders
from usad_workbench.core.teachers.plugins import plugin_rows

CODE = """
from dataclasses import replace

from usad_workbench.core.registry import encoder_spec
from usad_workbench.core.teachers.row import EncoderRow
from usad_workbench.core.teachers.statistics import load_log_mel


def rows():
    spec = replace(encoder_spec("log-mel-statistics"), name="their-encoder", role="control")
    taken = replace(spec, name="musicnn")
    return [EncoderRow(spec=spec, loader="their_package:load"), EncoderRow(spec=taken, loader="x:y")]


def load(spec):
    encoder = load_log_mel(spec)
    return encoder
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution as pip leaves it: a module and a dist-info folder on the path."""
    (tmp_path / "their_package.py").write_text(CODE)
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[usad_workbench.encoders]\nfine = their_package:rows\nbroken = their_package:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin_rows.cache_clear()
    yield tmp_path
    plugin_rows.cache_clear()
    sys.modules.pop("their_package", None)


def test_their_rows_join_the_table(installed: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert encoder_specs()["their-encoder"].role == "control"
    assert encoder_status("their-encoder").available
    assert "their-encoder" not in setup_encoders()
    assert "broken" in caplog.text
    clip = Clip(samples=__import__("numpy").ones(16000, "float32"), sample_rate_hz=16_000)
    theirs = load_encoder("their-encoder").embed(clip, 0)[0]
    assert (theirs == load_encoder("log-mel-statistics").embed(clip, 0)[0]).all()


def test_they_cannot_take_the_place_of_another(installed: Path) -> None:
    assert encoder_specs()["musicnn"].n_layers == 4


def test_without_them_nothing_is_there() -> None:
    assert "their-encoder" not in encoder_specs()
