"""Several processes with one model: what ``torchrun`` starts.

One process needs nothing of this: ``World()`` is alone, and its collectives give
back what they are given.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from usad_workbench.core.errors import CheckpointError, ConfigError, UsadError
from usad_workbench.core.parallel import end_process_after

T = TypeVar("T")
Parallel = Literal["ddp", "fsdp"]

_TIMEOUT = timedelta(hours=12)
"""Others wait while the first process reads the corpus; torchrun itself sees who died."""
_LET_GO_S = 1.0
"""How long a process waits for the threads of gloo to let go of the last tensors.

They outlive the group, as caches of DDP and FSDP hold it, and announce a collective before
they let go of its tensors, for which they need the interpreter: one that comes to it after
the interpreter has ended aborts the process (pytorch issue 190489). How often:
``docs/training.md``, "What was tried".
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among those of a run."""

    rank: int = 0
    size: int = 1
    """How many processes the run has."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes of a tensor on the CPU."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """What each process gave, by rank."""
        gathered: list[Any] = [value]
        if self.size > 1:
            gathered = [None] * self.size
            torch.distributed.all_gather_object(gathered, value)
        return gathered

    def first(self, work: Callable[[], T]) -> T:
        """What the first process gets from some work, given to all.

        Raises:
            UsadError: what the work raised there, in all processes.
        """
        if self.size == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = work()
            except UsadError as error:
                outcome[1] = error
        torch.distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Joins the processes that torchrun started; alone where it did not.

    Communication is gloo for what lies on the CPU and nccl on CUDA.

    Raises:
        ConfigError: several processes with the same numbered device.
    """
    n = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = torch.device(device)
    if n == 1:
        yield World(device=chosen)
        return
    if chosen.index is not None:
        raise ConfigError(
            f"run.device = {device} in {n} processes, expected a kind of device such as "
            f"{chosen.type}: each process takes the one of its LOCAL_RANK."
        )
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    _end_with_launcher()
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield World(rank=torch.distributed.get_rank(), size=n, device=chosen)
    finally:
        torch.distributed.destroy_process_group()
        time.sleep(_LET_GO_S)


def _end_with_launcher() -> None:
    """Ends this process when the torchrun that started it is gone, which a kill tells nobody."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    launcher = os.getppid()

    def wait() -> None:
        while os.getppid() == launcher:
            time.sleep(1.0)

    end_process_after(wait)


def wrap_model(
    model: nn.Module, blocks: nn.ModuleList, parallel: Parallel, world: World
) -> nn.Module:
    """A model that computes with those of the other processes; itself where alone.

    Args:
        model: On this process's device, with the same weights in all processes.
        blocks: Of the model; what FSDP2 gathers and lets go of at once.
        parallel: ``ddp`` or ``fsdp``.
        world: Those of the run.
    """
    if world.size == 1:
        return model
    if parallel == "ddp":
        ids = [world.device.index] if world.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


@contextmanager
def reduce_gradients(model: nn.Module, is_last: bool) -> Iterator[None]:
    """For one backward pass of several: DDP adds up gradients over processes in the last.

    FSDP2 adds them up in each, as a process has room for its own share only.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel) and not is_last:
        with model.no_sync():
            yield
    else:
        yield


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor with the shares of all processes; to be called by all of them."""
    gather = getattr(tensor, "full_tensor", None)
    full: Tensor = tensor if gather is None else gather()
    return full.detach()


def load_full(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor], source: str) -> None:
    """Puts whole values into tensors of which this process may hold a share only.

    Raises:
        CheckpointError: other names or shapes.
    """
    for name, tensor in tensors.items():
        value = values.get(name)
        if value is None or value.shape != tensor.shape or len(values) != len(tensors):
            described = "nothing" if value is None else tuple(value.shape)
            raise CheckpointError(
                f"{source} has {len(values)} tensors and {described} for {name}, expected "
                f"{len(tensors)} and {tuple(tensor.shape)}. It belongs to another recipe."
            )
        with torch.no_grad():
            tensor.copy_(shard(value, tensor))


def shard(value: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole value that all have, placed like another tensor."""
    mesh = getattr(like, "device_mesh", None)
    if mesh is None:
        return value.to(like.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    placements = like.placements if isinstance(like, DTensor) else None
    return distribute_tensor(value.to(like.device), mesh, placements, src_data_rank=None)
