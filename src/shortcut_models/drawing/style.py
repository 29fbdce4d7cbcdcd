"""How figures look. Colour is the number of steps: red is 1, purple the most."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageColor

from ..errors import UserError, first_line

Colour = tuple[float, float, float]

RAINBOW = ("#d62839", "#f0682a", "#eba30c", "#57a639", "#0f9f92", "#1e84d8", "#4757cf", "#8b2fb3")
"""red to purple, all dark enough to be read on white"""
INK, FAINT, PALE, LINES = "#22262e", "#8a919e", "#dfe2e8", "#eceef2"
DPI = 160  # dots an inch; matplotlib's sizes are in points of 1/72 inch


def rainbow(count: int) -> list[Colour]:
    """Return `count` colours from red to purple, as fractions of red, green and blue."""
    anchors = np.array([ImageColor.getrgb(code) for code in RAINBOW]) / 255
    places, ends = np.linspace(0, 1, count), np.linspace(0, 1, len(anchors))
    return list(zip(*(np.interp(places, ends, channel).tolist() for channel in anchors.T), strict=True))


def colour_of(steps: int, most: int) -> Colour:
    """Return the colour of a number of steps, 1 to `most`."""
    return rainbow(1001)[round(1000 * math.log(steps, most)) if most > 1 else 0]


def _import_matplotlib() -> None:
    """Import matplotlib, even where the backend that the user has asked for is not installed, as no figure needs it."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except (OSError, ValueError) as error:
        raise UserError(
            f"matplotlib cannot read its settings, a file matplotlibrc ({first_line(error)}): remove it"
        ) from None
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


def to_hex(colour: Colour) -> str:
    """Return a colour as a page of HTML names it."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in our style, whatever the user's own settings are. Also a decorator."""
    _import_matplotlib()
    import matplotlib.style

    with matplotlib.style.context("shortcut_models.drawing.shortcut", after_reset=True):
        yield


def new_figure(width: int, height: int, layout: Literal["constrained"] | None = "constrained") -> Any:
    """Return a matplotlib figure of so many pixels, outside pyplot: nothing to close, no display needed."""
    _import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)


def new_panels(count: int, columns: int, width: int, height: int, **axes: Any) -> tuple[Any, list[Any]]:
    """Return a figure with `count` panels of `width` x `height` pixels, at most `columns` in a row, and its axes."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width * columns, height * rows)
    panels = figure.subplots(rows, columns, squeeze=False, **axes).flatten()
    for empty in panels[count:]:
        empty.set_visible(False)
    return figure, list(panels[:count])


def picture_of(figure: Any) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
