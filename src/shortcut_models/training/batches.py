"""The order of the training examples, as a function of (seed, step), and reading them in that order."""

import sys
import time
import types
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ..base import Batch, Dataset
from ..data.arrays import ArrayDataset
from ..errors import UserError
from ..randomness import generator
from ..system.signals import ignore_stop_signals

Order = Callable[[torch.Generator], Int64[Tensor, "n"]]
"""A generator -> the rows of one pass over the data: each once, a function of the generator's seed."""


class IndexStream(Sampler[list[int]]):
    """The rows of each step's batch, or one process's share: one shuffled pass over the data after another.

    Passes follow each other without a gap, so no example is left out, and a batch may be larger than the data.
    """

    def __init__(
        self, examples: int, batch_size: int, seed: int, start: int, stop: int,
        rank: int = 0, world: int = 1, order: Order | None = None,
    ) -> None:  # fmt: skip
        self.examples, self.batch_size, self.seed, self.steps = examples, batch_size, seed, range(start, stop)
        self.share = range(rank * batch_size // world, (rank + 1) * batch_size // world)
        self.order = order or (lambda source: torch.randperm(examples, generator=source))
        self._epoch, self._order = -1, torch.empty(0)

    def _pass(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.order(generator(self.seed, epoch))
        return self._order

    def rows(self, step: int) -> list[int]:
        """Return the rows of one step."""
        first, last = (step * self.batch_size + place for place in (self.share.start, self.share.stop))
        found: list[int] = []
        for epoch in range(first // self.examples, (last - 1) // self.examples + 1):
            begin, end = max(first - epoch * self.examples, 0), min(last - epoch * self.examples, self.examples)
            found += self._pass(epoch)[begin:end].tolist()
        return found

    def __iter__(self) -> Iterator[list[int]]:
        return map(self.rows, self.steps)


class _Fetched(NamedTuple):
    """What a process that reads hands to the trainer."""

    batch: Batch | None
    error: UserError | None = None
    """what went wrong; raised where it was found, it would come with that process's traceback"""
    damaged: tuple[str, ...] = ()


class _Fetching(torch.utils.data.Dataset[_Fetched]):
    """A data set that returns its errors with what it reads."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitems__(self, rows: list[int]) -> _Fetched:
        try:
            batch = self.dataset.__getitems__(rows)
        except UserError as error:
            return _Fetched(None, error)
        return _Fetched(batch, damaged=tuple(getattr(self.dataset, "damaged", ())))


class Batches:
    """Batches, and what it took to read them. What is wrong with the data is raised here, from any process."""

    def __init__(self, dataset: Dataset, loader: DataLoader[_Fetched]) -> None:
        self.dataset, self.loader = dataset, loader
        self._waited, self._since = 0.0, time.perf_counter()

    def __iter__(self) -> Generator[Batch, None, None]:
        fetched = iter(self.loader)
        try:
            while (found := self._next(fetched)) is not None:
                if found.error is not None:
                    raise found.error
                for name in found.damaged:
                    self.dataset.note_damaged(name)  # type: ignore[attr-defined]  # one that counts some takes others
                assert found.batch is not None
                yield found.batch
        finally:
            _end_processes(fetched)

    def _next(self, fetched: Iterator[_Fetched]) -> _Fetched | None:
        begin = time.perf_counter()
        found = next(fetched, None)
        self._waited += time.perf_counter() - begin
        return found

    def figures(self) -> dict[str, float | int]:
        """Return the share of the time since the last call that was spent waiting, and the damaged examples so far."""
        now = time.perf_counter()
        share = self._waited / max(now - self._since, 1e-9)
        self._waited, self._since = 0.0, now
        damaged = len(getattr(self.dataset, "damaged", ()))
        return {"waiting_per_second": share} | ({"damaged": damaged} if damaged else {})


def _end_processes(fetched: Any) -> None:
    """End the processes that read, which an error's traceback would keep, and Python would wait for at exit."""
    workers = getattr(fetched, "_workers", [])  # without processes there are none
    if workers:
        fetched._shutdown_workers()
    for worker in workers:
        worker.kill()  # one that is still within a batch; they ignore SIGTERM


def _whole(batch: Any) -> Any:
    """Return the batch as it is: the data set has put it together already."""
    return batch


def _prepare_worker(worker: int) -> None:
    """Leave signals to the trainer, and end in silence after it."""
    ignore_stop_signals()
    sys.excepthook = _report_unless_disconnected


def _report_unless_disconnected(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    """Print an error of the thread that hands memory to the trainer, unless it broke off as the trainer was killed."""
    torn = isinstance(error, OSError) and error.errno is None  # "got end of file during message"
    if not (torn or isinstance(error, (ConnectionError, EOFError))):
        sys.__excepthook__(kind, error, trace)


def batches(
    dataset: Dataset, batch_size: int, seed: int, start: int, stop: int, workers: int, rank: int = 0, world: int = 1
) -> Batches:
    """Return the batches of steps start, ..., stop - 1, or one process's share, in pinned memory if there is a GPU.

    Rows that are on a GPU already are taken there, without worker processes. A data set may have a method `order` (see
    Order), for data that is best read in pieces, and a set `damaged` with a method `note_damaged(name)`, where it puts
    other examples in the place of some that cannot be read.
    """
    on_gpu = isinstance(dataset, ArrayDataset) and dataset.data.is_cuda
    order: Order | None = getattr(dataset, "order", None)
    loader = DataLoader(
        _Fetching(dataset),
        batch_sampler=IndexStream(len(dataset), batch_size, seed, start, stop, rank, world, order),
        collate_fn=_whole,
        num_workers=0 if on_gpu else workers,
        pin_memory=torch.cuda.is_available() and not on_gpu,
        worker_init_fn=_prepare_worker,
    )
    return Batches(dataset, loader)
