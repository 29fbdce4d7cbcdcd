"""Points of the plane."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from .style import FAINT, new_figure, picture_of, styled

Points = Float[np.ndarray, "n 2"]
NICE = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


def window(points: Points) -> tuple[float, float, float]:
    """Return the centre x and y, and half the side, of a square that holds all points but outliers."""
    finite = points[np.isfinite(points).all(1)].astype(np.float64)
    if not len(finite):
        return 0.0, 0.0, 1.0
    low, high = np.quantile(finite, [0.005, 0.995], axis=0)
    # Rounded, so that pictures of nearly the same points have the same axes.
    half = 1.1 * float((high - low).max()) / 2 or 1.0
    unit = 10.0 ** math.floor(math.log10(half))
    half = next(unit * nice for nice in NICE if unit * nice >= half * 0.999)
    x, y = (round(float(middle) / half * 5) * half / 5 for middle in (low + high) / 2)
    return x, y, half


def plane(axes: Any, view: tuple[float, float, float]) -> None:
    """Make axes a square piece of the plane: equal scales, no frame, and the grid as the only measure."""
    x, y, half = view
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(labelcolor=FAINT, labelsize=6, pad=1)
    axes.locator_params(nbins=5)


@styled()
def scatter(points: Points, where: Float[np.ndarray, "places 2"] | None = None) -> Image.Image:
    """Draw points of the plane, with equal axes and outliers left outside.

    where: points that decide the axes, so that pictures of several sets can be compared; `points` by default.
    """
    figure = new_figure(480, 480)
    axes = figure.subplots()
    plane(axes, window(points if where is None else where))
    size, alpha = np.clip(np.array([8000, 800]) / max(len(points), 1), [1.5, 0.25], [16, 0.9])
    axes.scatter(*points.T, s=size, alpha=alpha, color="#3455c8", linewidths=0)
    return picture_of(figure)
