"""What each worker gets of a cluster, and words where there is no Ray or no cluster."""

import sys

import pytest

from usad_workbench.core.distributed.cluster import Resources, share
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main

CPUS, GPUS = {"CPU": 64.0}, {"CPU": 64.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("total", "largest", "device", "n_workers", "expected"),
    [
        (CPUS, 16, "auto", None, (64, 1, 0.0)),
        (CPUS, 16, "cpu", 2, (2, 16, 0.0)),
        (CPUS, 16, "cpu", 100, (100, 1, 0.0)),
        (GPUS, 64, "auto", None, (8, 8, 1.0)),
        (GPUS, 64, "cuda", 16, (16, 4, 0.5)),
        (GPUS, 64, "cuda", 2, (2, 32, 1.0)),
        (GPUS, 64, "cpu", None, (64, 1, 0.0)),
    ],
)
def test_workers_share_the_cluster(
    total: dict[str, float],
    largest: int,
    device: str,
    n_workers: int | None,
    expected: tuple[int, int, float],
) -> None:
    n, cpus, gpus = expected
    found = share(total, largest, device, n_workers)
    assert found == Resources(n_workers=n, cpus=cpus, gpus=gpus)


@pytest.mark.parametrize(("device", "n_workers"), [("cuda", None), ("auto", 0)])
def test_what_no_cluster_can_give_is_refused(device: str, n_workers: int | None) -> None:
    with pytest.raises(ConfigError, match="GPU" if n_workers is None else "at least 1"):
        share(CPUS, 16, device, n_workers)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ray", "local"], "pip install 'usad-workbench[ray]'"),
        (["--ray", "local", "--parts", "nonsense://bucket"], "nonsense://bucket cannot be opened"),
        (["--ray", "local", "--audio-root", "/data"], "expected FOLDER=URL"),
        (["--parts", "s3://bucket/parts"], "belong to --ray ADDRESS"),
    ],
)
def test_wrong_use_is_a_sentence(
    workspace: Workspace,
    more: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    command = ["embed", "--workspace", str(workspace.folder), "--encoders", "mfcc-statistics"]
    assert main([*command, *more]) == 2
    assert words in capsys.readouterr().err
