"""Windows, against a definition of them that goes frame by frame."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from helpers.demonstrations import ENDS, EPISODES, FRAMES, LENGTHS, actions, pictures, states
from shortcut_models.data.demonstrations import Demonstrations
from shortcut_models.data.demonstrations.windows import Windows
from shortcut_models.training.batches import batches

pytestmark = pytest.mark.needs_extra

SOURCE = Demonstrations({"image": pictures(), "state": states()}, actions(), ENDS)


def by_hand(lengths: list[int], history: int, chunk: int, execute: int) -> list[tuple[list[int], list[int]]]:
    """The frames of every window's history and chunk.

    An episode is put between copies of its first and its last frame; a window of history - 1 + chunk frames is pushed
    over it from where only its last `chunk` frames lie within, to where `execute - 1` lie beyond.
    """
    found, begin = [], 0
    for length in lengths:
        horizon = history - 1 + chunk
        padded = [0] * (history - 1) + list(range(length)) + [length - 1] * (execute - 1)
        for start in range(len(padded) - horizon + 1):
            window = [begin + frame for frame in padded[start : start + horizon]]
            found.append((window[:history], window[history - 1 :]))
        begin += length
    return found


SIZES = [c for c in itertools.product((1, 2, 4), (1, 5, 8), (1, 4, 8)) if c[2] <= c[1]]


@pytest.mark.parametrize(("history", "chunk", "execute"), SIZES)
def test_windows_are_those_of_the_definition(history: int, chunk: int, execute: int) -> None:
    truth = by_hand(list(LENGTHS), history, chunk, execute)
    windows = Windows(SOURCE, history, chunk, execute)
    assert len(windows) == len(truth)
    batch = windows.__getitems__(list(range(len(windows))))
    past, future = (torch.tensor([window[part] for window in truth]) for part in (0, 1))
    assert torch.equal(batch.data, torch.from_numpy(actions())[future])
    assert torch.equal(batch.cond["state"], torch.from_numpy(states())[past].flatten(1))
    assert torch.equal(batch.cond["image"], torch.from_numpy(pictures())[past].permute(0, 1, 4, 2, 3))
    assert (batch.data.dtype, batch.cond["state"].dtype) == (torch.float32, torch.float32)
    assert batch.cond["image"].dtype == torch.uint8


def test_rows_are_given_in_the_order_asked_for() -> None:
    windows = Windows(SOURCE, 2, 4, 2)
    every = windows.__getitems__(list(range(len(windows))))
    rows = [7, 0, 7, len(windows) - 1]
    assert torch.equal(windows.__getitems__(rows).data, every.data[rows])
    assert torch.equal(windows[3].cond["state"], every.cond["state"][3:4])


def test_no_window_leaves_its_episode() -> None:
    windows = Windows(SOURCE, 4, 4, 4)
    batch = windows.__getitems__(list(range(len(windows))))
    frames = torch.cat([batch.cond["state"].reshape(len(batch), 4, 3)[..., 0], 2 * batch.data[..., 0]], 1)
    for row in frames.tolist():
        assert any(set(row) <= set(rows) for rows in EPISODES)


def test_some_episodes_alone() -> None:
    windows = Windows(SOURCE, 2, 4, 4, [2, 1])
    batch = windows.__getitems__(list(range(len(windows))))
    current = (2 * batch.data[:, 0, 0]).long().tolist()
    assert sorted(current) == [*EPISODES[1], *EPISODES[2]]


def test_with_as_many_executed_as_predicted_every_frame_is_current_once() -> None:
    windows = Windows(SOURCE, 3, 4, 4)
    assert len(windows) == FRAMES
    current = 2 * windows.__getitems__(list(range(FRAMES))).data[:, 0, 0]
    assert Counter(current.tolist()) == Counter(map(float, range(FRAMES)))


def test_episodes_that_are_too_short_have_no_window() -> None:
    """7 - 3 + 1 = 5 frames are needed; the shortest episode has 5, and one of 4 has none."""
    short = Demonstrations({"state": states(9)}, actions(9), np.array([4, 9]))
    windows = Windows(short, 2, 7, 3)
    assert len(windows) == 1
    assert (2 * windows[0].data[0, :, 0]).tolist() == [4, 5, 6, 7, 8, 8, 8]
    assert len(Windows(short, 2, 9, 1)) == 0


def test_the_order_of_shuffled_windows_is_always_the_same() -> None:
    plain = Windows(SOURCE, 1, 1, 1)
    mixed, again = (Windows(SOURCE, 1, 1, 1).shuffled(np.random.default_rng(0)) for _ in range(2))
    rows = list(range(len(plain)))
    data = [windows.__getitems__(rows).data for windows in (plain, mixed, again)]
    assert torch.equal(data[1], data[2])
    assert not torch.equal(data[0], data[1])
    assert Counter(data[0][:, 0, 0].tolist()) == Counter(data[1][:, 0, 0].tolist())


def test_other_processes_read_the_same() -> None:
    windows = Windows(SOURCE, 2, 4, 2)
    read = [list(batches(windows, 4, 0, 0, 5, workers)) for workers in (0, 2)]
    for here, there in zip(*read, strict=True):
        assert torch.equal(here.data, there.data)
        assert torch.equal(here.cond["image"], there.cond["image"])


def test_bytes_of_all_windows() -> None:
    windows = Windows(SOURCE, 2, 4, 2)
    batch = windows.__getitems__(list(range(len(windows))))
    held = [batch.data, *batch.cond.values()]
    assert windows.nbytes == sum(tensor.numel() * tensor.element_size() for tensor in held)
