"""Workers on a Ray cluster: started, handed shards, lost and started again.

The one module that imports Ray, and only when it is called: the package works without it.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

from usad_workbench.core.distributed.actor import WorkerActor
from usad_workbench.core.distributed.shards import Shard
from usad_workbench.core.distributed.worker import WorkerRecord, WorkerSettings
from usad_workbench.core.errors import ConfigError, MissingExtraError, UsadError, as_usad_error
from usad_workbench.core.storage.vector_parts import PartOrigin

LOCAL = "local"
"""The address that starts a cluster on this machine, which ends with the command."""
LOOPBACK_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0 before Ray is first imported, all processes of a cluster that it starts listen on the
loopback, on every system; otherwise they listen on all addresses of the machine."""
_POLL_S = 1.0
_PATIENCE_S = 60
"""Without any worker, until it is said what the cluster lacks."""

logger = logging.getLogger(__name__)


def import_ray() -> ModuleType:
    """The package ``ray``.

    Raises:
        MissingExtraError: it is not installed.
    """
    # It would tell its makers of every cluster, unless somebody has decided otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # It would put a Python function in the place of `print` for its progress bars, which numba
    # cannot compile: maps and neighbours made later in the same process fail.
    os.environ.setdefault("RAY_TQDM_PATCH_PRINT", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "Ray is not installed here. Install the extra `ray` on this and every worker's "
            "machine: pip install 'usad-workbench[ray]'."
        ) from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to a Ray cluster to the end of the block.

    Args:
        address: ``local`` starts a cluster on this machine alone, which nobody reaches from
            outside unless this process had imported Ray before; ``auto`` uses the one that this
            machine is a part of, else ``HOST:PORT`` or ``ray://HOST:PORT``. Where this process
            is connected already, that connection is used and kept.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster there.
    """
    if address == LOCAL:
        os.environ.setdefault(LOOPBACK_ALONE, "0")
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    try:
        if address == LOCAL:
            ray.init(
                num_cpus=os.cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except KeyboardInterrupt:
        ray.shutdown()  # what has begun of a cluster
        raise
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"No Ray cluster could be used at {address!r}: {error} Expected `local`, `auto` on a "
            "machine of the cluster, or its address, such as HOST:6379. `ray start --head` starts "
            "one."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """How many workers there are to be, and what of the cluster each has for itself."""

    n_workers: int
    cpus: int
    """Also its threads."""
    gpus: float


def share(
    total: Mapping[str, float], largest_node_cpus: int, device: str, n_workers: int | None
) -> Resources:
    """What each worker gets.

    Args:
        total: Of the cluster, as Ray counts them: ``CPU``, ``GPU``.
        largest_node_cpus: A worker is on one machine.
        device: ``auto`` uses GPUs where there are some.
        n_workers: By default one for each GPU, or for each CPU.

    Raises:
        ConfigError: less than one worker, or a GPU asked for where there is none.

    >>> share({"CPU": 64, "GPU": 4}, 32, "auto", None)
    Resources(n_workers=4, cpus=16, gpus=1.0)
    >>> share({"CPU": 64}, 16, "auto", 2)
    Resources(n_workers=2, cpus=16, gpus=0.0)
    """
    if n_workers is not None and n_workers < 1:
        raise ConfigError(f"Found {n_workers} workers, expected at least 1.")
    n_cpus, n_gpus = int(total.get("CPU", 0)), total.get("GPU", 0.0)
    uses_gpus = device not in ("auto", "cpu") or (device == "auto" and n_gpus > 0)
    if uses_gpus and n_gpus < 1:
        raise ConfigError(
            f"The device {device} was asked for, and no machine of the cluster offers a GPU. Use "
            "--device cpu, or start Ray there with `ray start --num-gpus`."
        )
    n = n_workers or max(int(n_gpus if uses_gpus else n_cpus), 1)
    return Resources(
        n_workers=n,
        cpus=max(min(n_cpus // n, largest_node_cpus), 1),
        gpus=min(n_gpus / n, 1.0) if uses_gpus else 0.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Event:
    """What became of a call of a worker."""

    worker: Any
    shard: Shard | None
    """That it had in hand; none while it loaded its encoder."""
    result: WorkerRecord | str | UsadError | None
    """What it has loaded, the name of the part it made, or why it could not; none where it died."""


class Workers:
    """The workers of one encoder.

    Args:
        settings: What each is told.
        resources: How many, and with what; of the cluster that this process is connected to.
    """

    def __init__(self, settings: WorkerSettings, resources: Resources) -> None:
        self._ray = import_ray()
        self._actor = self._ray.remote(WorkerActor).options(
            num_cpus=resources.cpus, num_gpus=resources.gpus, max_restarts=0, max_task_retries=0
        )
        self._settings = settings
        self._calls: dict[Any, tuple[Any, Shard | None]] = {}
        self._alive: dict[Any, Any] = {}
        self._waited_s = 0.0
        self._is_any_loaded = False
        self.n_workers = resources.n_workers
        for _ in range(resources.n_workers):
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._alive.values()):
            self.stop(worker)

    @property
    def n_busy(self) -> int:
        """How many load or embed."""
        return len(self._calls)

    @property
    def n_embedding(self) -> int:
        """How many have a shard in hand."""
        return sum(shard is not None for _, shard in self._calls.values())

    def start(self) -> None:
        """Starts one more worker, which loads its encoder; an event tells when it has."""
        worker = self._actor.remote(self._settings)
        self._alive[worker._actor_id] = worker
        self._calls[worker.load.remote()] = (worker, None)

    def hand(self, worker: Any, shard: Shard, origin: PartOrigin) -> None:
        """Hands a shard to a worker that has nothing else in hand."""
        self._calls[worker.embed.remote(shard, origin)] = (worker, shard)

    def stop(self, worker: Any) -> None:
        """Ends a worker, whatever it does."""
        self._alive.pop(worker._actor_id, None)
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(worker)

    def events(self) -> Sequence[Event]:
        """What has happened, after a second at most."""
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=_POLL_S)
        self._note_waiting(bool(ready))
        return [self._event(call) for call in ready]

    def _event(self, call: Any) -> Event:
        worker, shard = self._calls.pop(call)
        result: WorkerRecord | str | UsadError | None
        try:
            result = self._ray.get(call)
        except self._ray.exceptions.RayActorError:
            self.stop(worker)  # one that cannot be reached may live; it is not to go on
            result = None
        except self._ray.exceptions.RayTaskError as error:
            described = as_usad_error(error.cause)
            if described is None:
                raise
            result = described
        self._is_any_loaded |= isinstance(result, WorkerRecord)
        return Event(worker=worker, shard=shard, result=result)

    def _note_waiting(self, has_event: bool) -> None:
        """Says once what is asked of the cluster, if it gives no worker."""
        if has_event or self._is_any_loaded:
            return
        self._waited_s += _POLL_S
        if self._waited_s == _PATIENCE_S:
            logger.warning(
                "No worker could begin yet. The cluster has %s in all, of that free %s.",
                self._ray.cluster_resources(),
                self._ray.available_resources(),
            )


def cluster_share(device: str, n_workers: int | None) -> Resources:
    """``share`` of the cluster that this process is connected to.

    Raises:
        ConfigError: as ``share``.
    """
    ray = import_ray()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest = max((int(node.get("CPU", 0)) for node in nodes), default=1)
    return share(ray.cluster_resources(), largest, device, n_workers)
