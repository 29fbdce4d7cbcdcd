"""The order of the training examples, as a function of (seed, step)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .base import Batch, Dataset
from .randomness import generator


class IndexStream(Sampler[list[int]]):
    """The rows of each step's batch, from step `start` on: one shuffled pass over the data after another.

    Passes follow each other without a gap, so no example is left out, and a batch may be larger than the data.

    rank, world: of so many processes, which share each batch out evenly, the one whose rows these are.
    """

    def __init__(
        self, examples: int, batch_size: int, seed: int, start: int, stop: int, rank: int = 0, world: int = 1
    ) -> None:
        self.examples, self.batch_size, self.seed, self.steps = examples, batch_size, seed, range(start, stop)
        self.share = range(rank * batch_size // world, (rank + 1) * batch_size // world)
        self._epoch, self._order = -1, torch.empty(0)

    def _pass(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, torch.randperm(self.examples, generator=generator(self.seed, epoch))
        return self._order

    def rows(self, step: int) -> list[int]:
        """The rows of one step."""
        first, last = (step * self.batch_size + place for place in (self.share.start, self.share.stop))
        found: list[int] = []
        for epoch in range(first // self.examples, (last - 1) // self.examples + 1):
            begin, end = max(first - epoch * self.examples, 0), min(last - epoch * self.examples, self.examples)
            found += self._pass(epoch)[begin:end].tolist()
        return found

    def __iter__(self) -> Iterator[list[int]]:
        return map(self.rows, self.steps)


def _whole(batch: Any) -> Any:
    """The data set has put the batch together already."""
    return batch


def _leave_signals_to_the_trainer(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def batches(
    dataset: Dataset, batch_size: int, seed: int, start: int, stop: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """The batches of steps start, ..., stop - 1, or one process's share of them, in pinned memory if there is a GPU."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # all that the loader asks of it is in our protocol
        batch_sampler=IndexStream(len(dataset), batch_size, seed, start, stop, rank, world),
        collate_fn=_whole,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_signals_to_the_trainer,
    )
