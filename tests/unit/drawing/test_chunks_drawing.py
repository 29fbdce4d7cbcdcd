"""Predicted chunks over shown actions, as pixels."""

from __future__ import annotations

import numpy as np
import pytest

from shortcut_models.drawing import chunks
from shortcut_models.drawing.chunks import plot_predictions
from shortcut_models.drawing.style import colour_of


def count(picture: np.ndarray, steps: int, most: int) -> int:
    """Return the pixels that have the colour of a number of steps."""
    colour = np.round(255 * np.array(colour_of(steps, most)))
    return int((np.abs(picture - colour).max(-1) <= 1).sum())


def test_a_column_for_each_number_of_steps_and_a_row_for_each_number_of_an_action() -> None:
    shown = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    made = np.zeros((5, 6, 3), np.float32)
    one = np.asarray(plot_predictions(shown, range(0, 20, 4), {1: made}, 16), float)
    both = np.asarray(plot_predictions(shown, range(0, 20, 4), {1: made, 16: made}, 16, fps=10.0), float)
    assert one.shape[0] == both.shape[0] == 3 * chunks._HEIGHT
    assert (count(one, 1, 16) > 100, count(one, 16, 16)) == (True, 0)
    middle = both.shape[1] // 2
    assert count(both[:, :middle], 1, 16) > 100 > count(both[:, middle:], 1, 16) == 0
    assert count(both[:, middle:], 16, 16) > 100 > count(both[:, :middle], 16, 16) == 0


@pytest.mark.parametrize("begin", [0, 17])
def test_a_chunk_is_drawn_at_its_frames_and_not_beyond_the_episode(begin: int) -> None:
    shown = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    picture = np.asarray(plot_predictions(shown, [begin], {1: np.zeros((1, 6, 1), np.float32)}, 2), float)
    columns = np.flatnonzero((np.abs(picture - np.round(255 * np.array(colour_of(1, 2)))).max(-1) <= 1).any(0))
    left, right = columns.min() / picture.shape[1], columns.max() / picture.shape[1]
    assert (right < 0.45) if begin == 0 else (left > 0.75)
    assert (right - left < 0.12) == (begin == 17)  # three of its frames are in the episode


def test_of_many_numbers_the_first_are_drawn() -> None:
    shown = np.zeros((4, 40), np.float32)
    picture = plot_predictions(shown, [0], {1: np.zeros((1, 4, 40), np.float32)}, 2)
    assert picture.height == chunks._MOST * chunks._HEIGHT
