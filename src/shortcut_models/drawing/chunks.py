"""Chunks of actions as curves: what was done, and what a policy would do."""

import numpy as np
from jaxtyping import Float
from PIL import Image

from .style import new_panels, picture_of, rainbow, styled


@styled()
def plot_chunks(
    generated: Float[np.ndarray, "n chunk size"], shown: Float[np.ndarray, "n chunk size"], columns: int
) -> Image.Image:
    """Draw each chunk in a panel: a colour for each number of an action, dashed as demonstrated, solid as generated.

    Both are as the network sees them, so that one scale fits all numbers of an action.
    """
    count, chunk, size = generated.shape
    figure, panels = new_panels(count, columns, 260, 180, sharex=True, sharey=True)
    frames = np.arange(chunk)
    for axes, made, true in zip(panels, generated, shown, strict=True):
        for number, colour in enumerate(rainbow(size)):
            axes.plot(frames, true[:, number], color=colour, linestyle=(0, (3, 2)), linewidth=0.9, alpha=0.8)
            axes.plot(frames, made[:, number], color=colour)
        axes.locator_params(nbins=4)
    return picture_of(figure)
