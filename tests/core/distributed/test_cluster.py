"""What each worker gets of a cluster, and words where there is no Ray or no cluster."""

import os
import sys
from pathlib import Path
from types import BuiltinFunctionType

import pytest

from usad_workbench.core.distributed import cluster
from usad_workbench.core.distributed.cluster import (
    LOCAL,
    LOOPBACK_ALONE,
    Resources,
    connected,
    share,
)
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


def test_a_local_cluster_is_to_listen_on_the_loopback_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray reads the variable once, when it is imported."""
    found = []

    def imported() -> None:
        found.append(os.environ.get(LOOPBACK_ALONE))
        raise ConfigError("no Ray in this test")

    monkeypatch.setattr(cluster, "import_ray", imported)
    monkeypatch.delenv(LOOPBACK_ALONE, raising=False)
    for address in ("auto", LOCAL):
        with pytest.raises(ConfigError), connected(address):
            pass
    assert found == [None, "0"]


LISTENS = "0A"
"""The state of such sockets in Linux's tables."""
LOOPBACKS = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an address of version 6, and ::1, in their byte order."""


def test_print_stays_what_compilers_know(ray_address: str) -> None:
    """Ray's progress bars replace it by a Python function, at which numba stops."""
    from ray.experimental import tqdm_ray

    tqdm_ray.instance()
    assert isinstance(print, BuiltinFunctionType)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's tables of sockets")
def test_nobody_outside_reaches_the_cluster_of_the_tests(ray_address: str) -> None:
    import ray

    (node,) = ray.nodes()
    ports = {
        int(ray_address.rpartition(":")[2]),
        node["NodeManagerPort"],
        node["ObjectManagerPort"],
    }
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port = local.partition(":")
            if state == LISTENS and int(port, 16) in ports:
                listening.append((int(port, 16), address))
    assert {port for port, _ in listening} == ports
    assert {address for _, address in listening} <= LOOPBACKS
