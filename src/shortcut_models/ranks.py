"""Processes that torchrun started together, and that share work by its number."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this one is."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of work that all know: item i is done by rank i mod world."""
        return items[self.rank :: self.world]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()


ALONE = Ranks()


@contextlib.contextmanager
def ranks() -> Iterator[Ranks]:
    """The processes of this torchrun, or this one alone. Each gets a GPU of its own where there are some.

    They only ever wait for one another, so gloo is enough. One that fails leaves at once, and torchrun ends the others.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group("gloo", timeout=datetime.timedelta(days=1))  # one may have much more left to do
    found = Ranks(dist.get_rank(), dist.get_world_size())
    yield found
    found.wait()
    dist.destroy_process_group()
