"""Several processes that train as one: those that torchrun starts, and what they tell each other.

A process of its own takes the same path through the code, with no process group behind it: every exchange is then
the identity.
"""

from __future__ import annotations

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
from .torchrun import TIME_LIMIT, is_distributed, rendezvous_store

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """The processes that torchrun started, seen from one of them. Each method but `share` is a meeting: all call it."""

    rank: int = 0
    """of this process, in [0, world)"""
    world: int = 1
    """number of processes"""
    group: dist.ProcessGroup | None = None
    """what they talk through; none: the group that they joined"""

    def with_timeout(self, limit: datetime.timedelta) -> Processes:
        """The same processes, but they wait a day for one another: while one works for all, or each for itself."""
        if self.world == 1:
            return self
        return dataclasses.replace(self, group=dist.new_group(backend="gloo", timeout=limit))

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[Value]) -> Sequence[Value]:
        """This process's part of work that all know: item i is done by rank i mod world."""
        return items[self.rank :: self.world]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier(self.group)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a floating-point tensor over the processes, elementwise."""
        if self.world == 1:
            return value
        total = value.clone()
        dist.all_reduce(total, group=self.group)
        return total / self.world

    def all_reduce_max(self, value: int) -> int:
        """The largest of the processes' numbers."""
        if self.world == 1:
            return value
        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX, self.group)
        return int(found)

    def gather(self, value: Value) -> list[Value]:
        """The value of each process, in the order of their ranks; anything that can be pickled."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, self.group)
        return found

    def run_on_main(self, act: Callable[[], Value]) -> Value:
        """What `act` returns in the main process, for all. Where it raises UserError or OSError there, all do."""
        if self.world == 1:
            return act()
        outcome: list[Any] = [None, None]
        if self.main:
            try:
                outcome[0] = act()
            except (UserError, OSError) as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, group=self.group)
        if outcome[1] is not None:
            raise outcome[1]
        return cast(Value, outcome[0])

    def run_on_all(self, act: Callable[[], Value]) -> Value:
        """What `act` returns here. Where it raises UserError in any process, all raise the first one's."""
        if self.world == 1:
            return act()
        result, complaint = None, None
        try:
            result = act()
        except UserError as error:
            complaint = error
        for found in self.gather(complaint):
            if found is not None:
                raise found
        return cast(Value, result)

    def broadcast_parameters(self, module: nn.Module) -> None:
        """Give every process the main one's parameters and buffers."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0, self.group)


ALONE = Processes()
"""one process, and no process group"""


@contextlib.contextmanager
def process_group(device: str, limit: datetime.timedelta = TIME_LIMIT) -> Iterator[Processes]:
    """The processes that torchrun started, as a group for the time of the block; within another block, its group.

    Each process takes the GPU of its place on its machine, and NCCL carries what GPUs tell each other; on CPUs, gloo.

    Args:
        device: the training option: auto, cuda or cpu.
        limit: how long they wait for one another.

    Raises:
        UserError: a single GPU is named for several processes, or there are fewer GPUs than processes.
        PeerLost: another process ended in the middle of the block.
    """
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if not is_distributed():
        yield ALONE
        return
    gpu = _take_gpu(device)
    store, rank, world = rendezvous_store()
    store = dist.PrefixStore(f"group{next(_groups)}", store)  # an earlier group's addresses are stale
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu is not None else "gloo",
            store=store,
            rank=rank,
            world_size=world,
            timeout=limit,
            device_id=gpu,
        )
        yield Processes(rank, world)
        dist.barrier()
    except (dist.DistError, RuntimeError) as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error) for sign in _SIGNS_OF_LOSS):
            raise
        raise PeerLost("another process has ended or does not answer: see what it said") from error
    # After an error the others may wait in some meeting: to leave the group could mean to wait for them.
    dist.destroy_process_group()


_groups = itertools.count()
_SIGNS_OF_LOSS = ("gloo/", "Connection closed by peer", "Connection reset by peer")
"""what gloo says when a process is gone"""


def _take_gpu(device: str) -> torch.device | None:
    """Make the GPU of this process's place on its machine the current one; None where it is to compute on the CPU."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return None
    if device not in ("auto", "cuda"):
        raise UserError(f"device {device!r} is one for all processes: give cuda, and each takes its own, or cpu")
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= count:
        raise UserError(
            f"there are {count} GPUs here, and more processes: give torchrun --nproc-per-node {max(count, 1)}, "
            f"or --device cpu"
        )
    gpu = torch.device("cuda", local)
    torch.cuda.set_device(gpu)
    return gpu
