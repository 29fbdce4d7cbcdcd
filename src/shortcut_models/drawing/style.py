"""Pictures: grids of images, point clouds, curves. Colour is the number of steps: red is 1, purple the most."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from PIL import Image

Colour = tuple[float, float, float]
P = ParamSpec("P")
R = TypeVar("R")

RAINBOW = ("d62839", "f0682a", "eba30c", "57a639", "0f9f92", "1e84d8", "4757cf", "8b2fb3")
"""red to purple, all dark enough to be read on white"""
INK, FAINT, PALE, LINES = "#22262e", "#8a919e", "#dfe2e8", "#eceef2"
DPI = 160
"""dots an inch; matplotlib's sizes are in points of 1/72 inch"""
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "text.color": INK,
    "axes.edgecolor": "#c5cad3",
    "axes.labelcolor": "#5b6370",
    "axes.titlecolor": INK,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINES,
    "grid.linewidth": 0.7,
    "xtick.color": "#5b6370",
    "ytick.color": "#5b6370",
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 7.0,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
}


def rainbow(count: int) -> list[Colour]:
    """`count` colours from red to purple, as shares of red, green and blue."""
    anchors = np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in RAINBOW])
    places, ends = np.linspace(0, 1, count), np.linspace(0, 1, len(anchors))
    return [tuple(float(np.interp(place, ends, channel)) for channel in anchors.T) for place in places]  # type: ignore[misc]


def colour_of(steps: int, most: int) -> Colour:
    """The colour of a budget of steps, 1 to `most`."""
    fine = 1000
    share = math.log(steps) / math.log(most) if most > 1 else 0.0
    return rainbow(fine + 1)[round(share * fine)]


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """A function that draws with matplotlib, in our style whatever the user's own settings are."""

    @functools.wraps(draw)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return run


def new_figure(width: int, height: int, layout: Literal["constrained"] | None = "constrained") -> Any:
    """A matplotlib figure of so many pixels, outside pyplot: nothing to close, no display needed."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)


def picture_of(figure: Any) -> Image.Image:
    """A matplotlib figure as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
