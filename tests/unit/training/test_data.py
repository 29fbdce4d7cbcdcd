"""The order of the data: every example once in each pass, and a function of (seed, step) alone."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import time

import pytest
import torch

from shortcut_models.base import Batch
from shortcut_models.data.arrays import ArrayDataset
from shortcut_models.training.batches import IndexStream, batches


def order(examples: int, batch_size: int, steps: int, seed: int = 0, start: int = 0) -> list[list[int]]:
    return list(IndexStream(examples, batch_size, seed, start, start + steps))


@pytest.mark.parametrize(("examples", "batch_size"), [(12, 4), (7, 3), (5, 1), (3, 8), (1, 4), (10, 10), (97, 32)])
def test_every_example_comes_once_in_each_pass(examples: int, batch_size: int) -> None:
    passes = 6
    steps = -(-passes * examples // batch_size)
    found = order(examples, batch_size, steps)
    assert {len(rows) for rows in found} == {batch_size}
    flat = list(itertools.chain.from_iterable(found))
    for begin in range(0, passes * examples, examples):
        assert sorted(flat[begin : begin + examples]) == list(range(examples))


def test_each_pass_is_shuffled_and_seeds_differ() -> None:
    first, second = order(50, 50, 2)
    assert len({tuple(first), tuple(second), tuple(range(50)), tuple(order(50, 50, 1, seed=1)[0])}) == 4


@pytest.mark.parametrize(("examples", "batch_size"), [(11, 4), (3, 8)])
def test_a_step_has_the_same_rows_wherever_the_run_began(examples: int, batch_size: int) -> None:
    whole = order(examples, batch_size, 20, seed=5)
    for start in range(20):
        assert order(examples, batch_size, 20 - start, seed=5, start=start) == whole[start:]
    stream = IndexStream(examples, batch_size, 5, 0, 20)
    backwards = [stream.rows(step) for step in reversed(range(20))]
    assert backwards[::-1] == whole


def test_processes_that_read_change_nothing() -> None:
    data = ArrayDataset(torch.arange(20.0)[:, None], {"label": torch.arange(20)})
    alone, helped = (list(batches(data, 6, 1, 2, 9, workers)) for workers in (0, 2))
    assert len(alone) == len(helped) == 7
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.data, b.data)
        assert torch.equal(a.cond["label"], b.cond["label"])
        assert torch.equal(a.data[:, 0].long(), a.cond["label"])


def test_a_finished_run_asks_for_no_data() -> None:
    assert order(10, 3, 0, start=4) == []


@pytest.mark.parametrize(("examples", "world"), [(11, 2), (5, 4), (100, 8)])
def test_processes_share_each_batch_out(examples: int, world: int) -> None:
    shares = [list(IndexStream(examples, 8, 5, 2, 9, rank, world)) for rank in range(world)]
    whole = [list(itertools.chain.from_iterable(parts)) for parts in zip(*shares, strict=True)]
    assert whole == order(examples, 8, 7, seed=5, start=2)
    assert {len(rows) for share in shares for rows in share} == {8 // world}


class Stuck(ArrayDataset):
    """One whose first batch can be read, and then no other."""

    def __getitems__(self, rows: list[int]) -> Batch:
        if rows != IndexStream(64, 4, 0, 0, 1).rows(0):
            time.sleep(3600)
        return super().__getitems__(rows)


@pytest.mark.multiprocess
@pytest.mark.parametrize("dataset", [ArrayDataset, pytest.param(Stuck, marks=pytest.mark.long)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_processes_that_read_end_with_any_error(dataset: type[ArrayDataset], error: type[BaseException]) -> None:
    caught = None
    try:
        with contextlib.closing(iter(batches(dataset(torch.zeros(64, 2), {}), 4, 0, 0, 100, workers=1))) as found:
            next(found)
            raise error("within a step")
    except error as kept:  # its traceback keeps what it passed through
        caught = kept
    assert caught is not None
    for process in multiprocessing.active_children():
        process.join()
    assert not multiprocessing.active_children()
