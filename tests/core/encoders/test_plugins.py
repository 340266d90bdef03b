"""Encoders of other installed distributions."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.plugins import read_plugins
from usad_workbench.core.encoders.registry import (
    encoder_specs,
    encoder_status,
    load_encoder,
    setup_encoders,
)
from usad_workbench.core.encoders.weights import CACHE_VARIABLE
from usad_workbench.core.errors import ConfigError, WeightsError
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench import cli

CODE = """
from dataclasses import replace

from usad_workbench.core.encoders.registry import encoder_spec
from usad_workbench.core.encoders.row import EncoderRow
from usad_workbench.core.encoders.networks.statistics import load_log_mel


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
    read_plugins.cache_clear()
    yield tmp_path
    read_plugins.cache_clear()
    sys.modules.pop("their_package", None)


def test_their_rows_join_the_table(installed: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert encoder_specs()["their-encoder"].role == "control"
    assert "recursion" not in caplog.text  # it asks the registry while the registry asks it
    assert encoder_status("their-encoder").available
    assert "their-encoder" not in setup_encoders()
    assert "broken" in caplog.text
    clip = Clip(samples=__import__("numpy").ones(16000, "float32"), sample_rate_hz=16_000)
    theirs = load_encoder("their-encoder").embed(clip, 0)[0]
    assert (theirs == load_encoder("log-mel-statistics").embed(clip, 0)[0]).all()


def test_they_cannot_take_the_place_of_another(installed: Path) -> None:
    assert encoder_specs()["musicnn"].n_layers == 4


WEIGHTS_CODE = """
import numpy as np
import torch
from dataclasses import replace
from pathlib import Path
from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.registry import encoder_spec
from usad_workbench.core.encoders.row import EncoderRow, HubSource
from usad_workbench.core.encoders.networks.statistics import load_log_mel
from usad_workbench.core.encoders.weights import load_weights
from usad_workbench.core.encoders.sources import FileSource, Wheel, WeightsSource

HERE = "weighty_package"
VERSION = 1


def rows():
    spec = replace(encoder_spec("log-mel-statistics"), role="control")
    sha256 = Path(__file__).with_name("wheel.sha256").read_text()
    wheel = Wheel(package="weighty", version="1", sha256=sha256, members=("weighty/gain",), size_mb=1.0)
    made = dict(licence="MIT", converter_version=VERSION)
    sources = {
        "their-file": FileSource(
            file="their.pt", page="https://example.org", converter=f"{HERE}:convert", **made
        ),
        "their-wheel": WeightsSource(wheels=(wheel,), converter=f"{HERE}:convert_wheel", **made),
        "their-hub": HubSource(repo="them/model", licence="MIT", size_mb=1.0),
        "their-fault": None,
    }
    loader = f"{HERE}:load"
    return [
        EncoderRow(spec=replace(spec, name=name), source=source,
                   loader="usad_workbench.core.encoders.hub.folder:load" if name == "their-hub" else loader)
        for name, source in sources.items()
    ]


def convert(path):
    return {"gain": torch.tensor([float(path.read_text())])}


def convert_wheel(members):
    return {"gain": torch.tensor([float(members["weighty/gain"])])}


def load(spec):
    if spec.name == "their-fault":
        raise KeyError("their own mistake")
    encoder = load_log_mel(spec)
    tensors, encoder.weights_sha256 = load_weights(spec.name)
    forward = encoder._forward
    def louder(samples, n_valid, layers, kind):
        return forward(samples * tensors["gain"], n_valid, layers, kind)
    encoder._forward = louder
    return encoder
"""


def build_wheel(folder: Path) -> str:
    """A wheel that pip takes, which holds one number; its sha256."""
    folder.mkdir()
    path, info = folder / "weighty-1-py3-none-any.whl", "weighty-1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weighty/gain", "0.5")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: weighty\nVersion: 1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return sha256_of_file(path)


@pytest.fixture
def weighty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "weighty_package.py").write_text(WEIGHTS_CODE)
    (tmp_path / "wheel.sha256").write_text(build_wheel(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    info = tmp_path / "weighty_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: weighty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[usad_workbench.encoders]\nw = weighty_package:rows\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    read_plugins.cache_clear()
    yield tmp_path
    read_plugins.cache_clear()
    sys.modules.pop("weighty_package", None)


def test_a_plugin_with_weights_is_listed_fetched_and_used(
    weighty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["encoders", "list", "--json"]) == 0
    rows = {row["encoder"]: row for row in json.loads(capsys.readouterr().out)}
    for name, words in (
        ("their-file", "Download their.pt"),
        ("their-wheel", "weighty 1"),
        ("their-hub", "hub"),
    ):
        assert not rows[name]["available"] and words in rows[name]["reason"]
    assert rows["their-fault"]["available"]
    (weighty / "their.pt").write_text("0.5")
    with pytest.raises(WeightsError, match="not on this machine"):
        load_encoder("their-file")
    assert cli.main(["encoders", "get", "their-file", "--from", str(weighty / "their.pt")]) == 0
    assert encoder_status("their-file").available
    assert_halves("their-file")


def assert_halves(name: str) -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=16_000).astype(np.float32)
    loud, quiet = (Clip(samples=s, sample_rate_hz=16_000) for s in (samples, samples / 2))
    vector = load_encoder(name).embed(loud, 0)[0]
    np.testing.assert_array_equal(vector, load_encoder("log-mel-statistics").embed(quiet, 0)[0])


def test_a_plugin_whose_weights_are_in_a_wheel_is_fetched_and_embedded(
    weighty: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["encoders", "get", "their-wheel", "--json"]) == 0
    assert encoder_status("their-wheel").available
    assert_halves("their-wheel")
    arguments = ["--workspace", str(workspace.folder), "--encoders", "their-wheel", "--json"]
    capsys.readouterr()
    assert cli.main(["embed", *arguments, "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["n_done"] == len(workspace.clips())
    # A newer version of the plugin converts otherwise: what is in the cache is not for it.
    code = (weighty / "weighty_package.py").read_text().replace("VERSION = 1", "VERSION = 2  #")
    (weighty / "weighty_package.py").write_text(code)
    sys.modules.pop("weighty_package")
    read_plugins.cache_clear()
    assert "another version" in encoder_status("their-wheel").reason
    with pytest.raises(WeightsError, match="another version"):
        load_encoder("their-wheel")


def test_a_plugin_that_fails_is_named(weighty: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugin of their-fault .*their own mistake"):
        load_encoder("their-fault")
    with pytest.raises(WeightsError, match="them/model"):
        load_encoder("their-hub")


def test_without_them_nothing_is_there() -> None:
    assert "their-encoder" not in encoder_specs()
