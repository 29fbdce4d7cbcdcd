"""Samples of any task, drawn by their shape alone: points, images, curves or numbers."""

import math

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageDraw, ImageFont

from .points import scatter
from .sheets import grid
from .style import FAINT, INK, new_figure, picture_of, rainbow, styled

Samples = Shaped[np.ndarray, "n ..."]
CURVES, CURVE_COLUMNS = 64, 8  # panels of curves at most, and in a row
PANEL = (150, 90)  # pixels of a panel of curves, across and down
MOST_CHANNELS = 8  # of a signal that is drawn as curves
LEAST_LENGTH = 8  # of a curve
ROWS, NUMBERS = 16, 8  # of a table


def draw_samples(samples: Samples, columns: int) -> Image.Image:
    """Draw samples [n, ...] as one picture.

    Points [n, 2] become a scatter plot. Images, [n, 1 or 3, height, width] or channels last, become a grid; numbers
    other than uint8 are scaled so that the darkest and lightest hundredth are black and white. Signals [n, length] or
    [n, channels, length] become curves, the first 64 of them. Of anything else, the first numbers become a table.
    """
    shape = samples.shape[1:]
    if shape == (2,):
        return scatter(samples.astype(np.float64))
    images = _as_images(samples)
    if images is not None:
        return grid(images, columns, scale=max(1, 64 // images.shape[1]))
    if 1 <= len(shape) <= 2 and shape[-1] >= LEAST_LENGTH and (len(shape) == 1 or shape[0] <= MOST_CHANNELS):
        return _curves(samples[:CURVES].reshape(len(samples[:CURVES]), -1, shape[-1]), min(columns, CURVE_COLUMNS))
    return _table(samples)


def _as_images(samples: Samples) -> np.ndarray | None:
    """Return pictures [n, height, width, channels] in uint8, or None where samples are not pictures."""
    if samples.ndim != 4 or min(samples.shape) < 1:
        return None
    if samples.shape[1] in (1, 3):
        samples = samples.transpose(0, 2, 3, 1)
    elif samples.shape[3] not in (1, 3):
        return None
    if samples.dtype == np.uint8:
        return samples
    low, high = _range(samples, 0.01)
    share = ((samples - low) / (high - low)).clip(0, 1)
    return (np.nan_to_num(share) * 255).astype(np.uint8)


@styled()
def _curves(samples: Shaped[np.ndarray, "n channels length"], columns: int) -> Image.Image:
    """Draw a panel for each sample, all to the same scale, and a curve for each channel."""
    from matplotlib.collections import LineCollection

    count, channels, length = samples.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    low, high = _range(samples, 0.005)
    heights = ((samples - low) / (high - low)).clip(-0.05, 1.05)
    # One pair of axes for all panels: a pair for each takes seconds.
    figure = new_figure(columns * PANEL[0], rows * PANEL[1])
    axes = figure.subplots()
    axes.set(xlim=(0, columns), ylim=(-rows, 0), xticks=range(columns + 1), yticks=range(-rows, 1))
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=True)
    across = np.linspace(0.05, 0.95, length)
    for channel, colour in enumerate(rainbow(channels) if channels > 1 else ["#3455c8"]):
        lines = [
            np.stack([k % columns + across, 0.1 + 0.8 * heights[k, channel] - k // columns - 1], 1)
            for k in range(count)
        ]
        axes.add_collection(LineCollection(lines, colors=[colour], linewidths=0.7))
    axes.set_title(f"from {low:.3g} to {high:.3g}", fontsize=6, color=FAINT, loc="left")
    return picture_of(figure)


def _table(samples: Samples) -> Image.Image:
    """Draw the first numbers of the first samples, a line for each."""
    flat = samples.reshape(len(samples), math.prod(samples.shape[1:]))[:ROWS]
    size, cell = 13, 84
    font = ImageFont.load_default(size)
    cells = [[*(f"{value:.4g}" for value in row[:NUMBERS]), *["..."] * (len(row) > NUMBERS)] for row in flat]
    picture = Image.new("RGB", (cell * len(cells[0]) + size, round(1.5 * size * (len(cells) + 1))), "white")
    pen = ImageDraw.Draw(picture)
    for row, texts in enumerate(cells):
        for column, text in enumerate(texts):
            pen.text((cell * (column + 1), 1.5 * size * (row + 0.5)), text, INK, font, anchor="ra")
    return picture


def _range(values: np.ndarray, tail: float) -> tuple[float, float]:
    """Return what a share of the finite values is below, and as large a share above; (0, 1) where there are none."""
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [tail, 1 - tail]) if len(finite) else (0.0, 1.0)
    return float(low), max(float(high), float(low) + 1e-12)
