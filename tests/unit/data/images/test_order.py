"""The order in which shards are read: every row once, near one another, and well mixed."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch

from shortcut_models.data.images import in_place
from shortcut_models.data.images.in_place import windowed
from shortcut_models.randomness import generator
from shortcut_models.training.batches import IndexStream


def rows_of(shards: np.ndarray, *place: int) -> np.ndarray:
    return windowed(shards, generator(*place)).numpy()


@pytest.mark.parametrize(
    ("count", "size"), [(1, 5), (3, 1), (40, 1), (40, 1_300), (33, 1_100), (100, 900)], ids=lambda n: f"{n}"
)
def test_every_row_comes_once_and_the_order_follows_from_the_seed(count: int, size: int) -> None:
    shards = np.repeat(np.arange(count), size)
    found = rows_of(shards, 3, 1)
    assert (np.sort(found) == np.arange(count * size)).all()
    assert (found == rows_of(shards, 3, 1)).all()
    if count * size > 5:
        assert (found != rows_of(shards, 3, 2)).any()
        assert (found != rows_of(shards, 4, 1)).any()


def test_the_order_is_the_recorded_one() -> None:
    """A run that version 0.2 began continues with the images that were to come next."""
    found = rows_of(np.repeat(np.arange(40), 1_300), 3, 1).astype(np.int32)
    assert hashlib.sha256(found.tobytes()).hexdigest().startswith("bed85b0870237fdb")


def test_few_shards_are_read_at_a_time_and_each_only_once() -> None:
    """100 shards of 1,000 to 1,999 images, as WebDataset sets have them: windows of 16 to 17 shards."""
    sizes = np.random.default_rng(0).integers(1_000, 2_000, 100)
    shards = np.repeat(np.arange(100), sizes)
    visited = shards[rows_of(shards, 0, 0)]
    first = np.array([np.argmax(visited == shard) for shard in range(100)])
    last = np.array([len(visited) - 1 - np.argmax(visited[::-1] == shard) for shard in range(100)])
    together = [int(((first <= place) & (last >= place)).sum()) for place in range(0, len(visited), 500)]
    assert max(together) <= 2 * in_place.WINDOW_SHARDS
    assert 16 <= np.median(together) <= 18
    assert (last - first).max() < 2 * in_place.WINDOW_SHARDS * 2_000


def test_shards_and_rows_are_well_mixed() -> None:
    shards = np.repeat(np.arange(64), 1_200)
    orders = [rows_of(shards, 0, epoch) for epoch in range(40)]
    begin = np.concatenate([shards[found[:256]] for found in orders])
    assert len(np.unique(begin)) == 64  # any shard may come first
    counts = np.bincount(shards[orders[0][:256]], minlength=64)
    assert (counts > 0).sum() == in_place.WINDOW_SHARDS  # a batch has images of all shards of its window
    within = orders[0][: 16 * 1_200] % 1_200
    assert abs(np.corrcoef(within, np.arange(len(within)))[0, 1]) < 0.03


def test_a_set_of_one_window_is_shuffled_as_a_whole() -> None:
    shards = np.repeat(np.arange(20), 100)
    places = np.stack([np.argsort(rows_of(shards, 0, epoch)) for epoch in range(200)]).mean(0)
    assert np.abs(places - 999.5).max() < 5 * 577 / np.sqrt(200)  # the mean place of a row, of a uniform distribution


def test_rows_of_a_shard_need_not_lie_side_by_side() -> None:
    shards = np.arange(900) % 3
    assert (np.sort(rows_of(shards, 0)) == np.arange(900)).all()


@pytest.mark.parametrize("world", [1, 2])
def test_a_stream_in_windows_resumes_anywhere(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_place, "WINDOW_SHARDS", 2)
    monkeypatch.setattr(in_place, "WINDOW_IMAGES", 10)
    shards = np.repeat(np.arange(9), 7)

    def stream(rank: int, start: int) -> list[list[int]]:
        return list(IndexStream(63, 8, 5, start, 24, rank, world, lambda source: windowed(shards, source)))

    whole = [list(itertools.chain(*parts)) for parts in zip(*(stream(rank, 0) for rank in range(world)), strict=True)]
    flat = list(itertools.chain(*whole))
    for begin in range(0, 3 * 63, 63):
        assert sorted(flat[begin : begin + 63]) == list(range(63))
    for start in range(24):
        again = [stream(rank, start) for rank in range(world)]
        assert [list(itertools.chain(*parts)) for parts in zip(*again, strict=True)] == whole[start:]
    assert torch.tensor(flat[:63]).ne(torch.arange(63)).any()
