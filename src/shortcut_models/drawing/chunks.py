"""Chunks of actions as curves: what was done, and what a policy would do."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image

from .style import new_figure, picture_of, rainbow, styled

PANEL = 260, 180
"""width and height in pixels"""


@styled
def plot_chunks(
    generated: Float[np.ndarray, "n chunk size"], shown: Float[np.ndarray, "n chunk size"], columns: int
) -> Image.Image:
    """A panel a chunk, in rows of `columns`, and a colour a number of the action: dashed as shown, solid as generated.

    Both are as the network sees them, so that all numbers of an action share one scale.
    """
    count, chunk, size = generated.shape
    columns = min(columns, count)
    lines = -(-count // columns)
    figure = new_figure(PANEL[0] * columns, PANEL[1] * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes in panels[count:]:
        axes.set_visible(False)
    frames = np.arange(chunk)
    for axes, made, true in zip(panels, generated, shown, strict=False):
        for number, colour in enumerate(rainbow(size)):
            axes.plot(frames, true[:, number], color=colour, linestyle=(0, (3, 2)), linewidth=0.9, alpha=0.8)
            axes.plot(frames, made[:, number], color=colour)
        axes.locator_params(nbins=4)
    return picture_of(figure)
