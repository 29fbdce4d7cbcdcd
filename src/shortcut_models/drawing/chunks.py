"""Predicted chunks of actions over the actions that were shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from ..text import format_steps
from .style import FAINT, INK, colour_of, new_panels, picture_of, styled

_WIDTH, _HEIGHT = 900, 190  # pixels of a panel
_MOST = 16  # numbers of an action that are drawn


@styled()
def plot_predictions(
    shown: Float[np.ndarray, "n m"],
    begins: Sequence[int],
    predicted: Mapping[int, Float[np.ndarray, "k columns m"]],
    most: int,
    fps: float | None = None,
) -> Image.Image:
    """Draw the actions of an episode, dashed, and the chunks that were predicted in it, solid.

    A column for each number of sampling steps, and a row for each number of an action, the first _MOST of them.

    Args:
        shown: the actions of each frame.
        begins: the frame of the first action of each chunk.
        predicted: chunks by the number of sampling steps.
        most: the most steps of the method, for the colours.
        fps: frames per second; the axis is in seconds, or in frames where it is not known.
    """
    length, size = shown.shape
    rows, rate = min(size, _MOST), fps or 1.0
    width = _WIDTH if len(predicted) == 1 else _WIDTH * 2 // 3
    figure, panels = new_panels(rows * len(predicted), len(predicted), width, _HEIGHT, sharex=True, sharey="row")
    frames = np.arange(length)
    for place, axes in enumerate(panels):
        row, column = divmod(place, len(predicted))
        steps = list(predicted)[column]
        for begin, chunk in zip(begins, predicted[steps], strict=True):
            inside = min(len(chunk), length - begin)  # what comes after the episode has nothing to compare with
            axes.plot(_times(begin, inside, rate), chunk[:inside, row], color=colour_of(steps, most), linewidth=1)
        axes.plot(frames / rate, shown[:, row], color=INK, linestyle=(0, (3, 2)), linewidth=0.9, zorder=4)
        _label(axes, row, column, steps, f"first {rows} of {size:,} numbers" if rows < size else "")
        if row == rows - 1:
            axes.set_xlabel("seconds" if fps else "frame")
    return picture_of(figure)


def _times(begin: int, count: int, rate: float) -> np.ndarray:
    return np.arange(begin, begin + count) / rate


def _label(axes: Any, row: int, column: int, steps: int, note: str) -> None:
    if row == 0:
        axes.set_title(format_steps(steps) + (f" ({note})" if note else ""))
        axes.set_title("dashed: shown, solid: predicted", loc="right", fontsize=6.5, color=FAINT, weight="normal")
    if column == 0:
        axes.set_ylabel(f"action[{row}]")
    axes.locator_params(axis="y", nbins=4)
