"""The processes that torchrun starts, and the exchanges between them.

A single process takes the same path through the code without a process group: each exchange is then the identity.
"""

import contextlib
import dataclasses
import datetime
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import PeerLost, UserError
from .torchrun import TIME_LIMIT, check_environment, is_distributed, rendezvous_store

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """The processes that torchrun started, seen from one of them. All of them must call each method but `share`."""

    rank: int = 0  # of this process, in [0, world)
    world: int = 1  # number of processes
    group: dist.ProcessGroup | None = None  # the process group; None: the default one

    def with_timeout(self, limit: datetime.timedelta) -> "Processes":
        """Return the same processes with another limit for waiting, as one may work for all, or each for itself."""
        if self.world == 1:
            return self
        return dataclasses.replace(self, group=dist.new_group(backend="gloo", timeout=limit))

    @property
    def main(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    def share(self, items: Sequence[Value]) -> Sequence[Value]:
        """Return this process's part of the work: rank i mod world does item i."""
        return items[self.rank :: self.world]

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier(self.group)

    def mean(self, value: Tensor) -> Tensor:
        if self.world == 1:
            return value
        total = value.clone()
        dist.all_reduce(total, group=self.group)
        return total / self.world

    def all_reduce_max(self, value: int) -> int:
        """Return the largest of the processes' numbers."""
        if self.world == 1:
            return value
        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX, self.group)
        return int(found)

    def gather(self, value: Value) -> list[Value]:
        """Return the value of each process in the order of their ranks; it must be picklable."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, self.group)
        return found

    def run_on_main(self, act: Callable[[], Value]) -> Value:
        """Return what `act` returns in the main process. If it raises UserError or OSError there, all raise it."""
        outcome: list[Any] = [None, None]
        if self.main:
            try:
                outcome[0] = act()
            except (UserError, OSError) as error:
                outcome[1] = error
        if self.world > 1:
            dist.broadcast_object_list(outcome, group=self.group)
        if outcome[1] is not None:
            raise outcome[1]
        return cast(Value, outcome[0])

    def run_on_all(self, act: Callable[[], Value]) -> Value:
        """Return what `act` returns here. If it raises UserError in a process, all raise the first one's."""
        result, complaint = None, None
        try:
            result = act()
        except UserError as error:
            complaint = error
        for found in filter(None, self.gather(complaint)):
            raise found
        return cast(Value, result)

    def broadcast_parameters(self, module: nn.Module) -> None:
        """Copy the main process's parameters and buffers to every process."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0, self.group)


ALONE = Processes()  # a single process, without a process group


@contextlib.contextmanager
def process_group(device: str, limit: datetime.timedelta = TIME_LIMIT) -> Iterator[Processes]:
    """Join torchrun's processes into a group during the block, or use the group of an outer one; limit: of waiting.

    Raises UserError if there are fewer GPUs than processes, and PeerLost if another process ended during the block.
    """
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    check_environment()
    if not is_distributed():
        yield ALONE
        return
    gpu = _take_gpu(device)
    store, rank, world = rendezvous_store()
    store = dist.PrefixStore(f"group{next(_groups)}", store)  # an earlier group's addresses are stale
    backend = "gloo" if gpu is None else "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit, device_id=gpu)
        yield Processes(rank, world)
        dist.barrier()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error) for sign in _SIGNS_OF_LOSS):
            raise
        raise PeerLost("another process has ended or does not answer: see its error message") from error
    # Not after an error: the others may be in an exchange, and leaving the group could wait for them.
    dist.destroy_process_group()


_groups = itertools.count()
_SIGNS_OF_LOSS = ("gloo/", "Connection closed by peer", "Connection reset by peer")  # in gloo's messages


def _take_gpu(device: str) -> torch.device | None:
    """Make the GPU of this process's local rank the current one, and return it; None for the CPU."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return None
    if device not in ("auto", "cuda"):
        raise UserError(f"device {device!r} is one for several processes: use cuda, where each takes its own, or cpu")
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"there are {count} GPUs here, and more processes: use torchrun --nproc-per-node {max(count, 1)}, "
            f"or --device cpu"
        )
    gpu = torch.device("cuda", local)
    torch.cuda.set_device(gpu)
    return gpu
