"""Pictures: grids of images, point clouds, curves. Colour is the number of steps: red is 1, purple the most."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

Points = Float[np.ndarray, "n 2"]
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
LOWER_IS_BETTER = ("distance", "wasserstein", "frechet", "fid", "kid", "error")
SHARES = ("accuracy", "precision", "recall", "coverage")
HIGHER_IS_BETTER = (*SHARES, "density")


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


def grid(images: UInt8[np.ndarray, "n h w c"], columns: int, scale: int = 1) -> Image.Image:
    """Images, grey (c = 1) or colour (c = 3), in rows of `columns` with white gaps, each pixel `scale` wide."""
    n, height, width = images.shape[:3]
    gap, columns = 2, min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows * (height * scale + gap) - gap, columns * (width * scale + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height * scale + gap), (index % columns) * (width * scale + gap)
        sheet[top : top + height * scale, left : left + width * scale] = image.repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(sheet)


def stack(titles: Sequence[str], pictures: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Pictures with their titles, row by row, in so many columns or in as many as make a sheet of pleasant shape."""
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    size = min(max(width // 26, 13), 24)
    longest = max(ImageFont.load_default(size).getlength(title) for title in titles)
    width = max(width, math.ceil(longest))  # a title does not run into the next one
    margin, band, count = size, round(1.8 * size), len(pictures)

    def oddness(columns: int) -> float:
        rows = -(-count // columns)
        shape = columns * (width + margin) / (rows * (height + band + margin))
        return abs(math.log(shape / 1.6)) + (rows * columns - count) / count

    columns = columns or min(range(1, count + 1), key=oddness)
    rows = -(-count // columns)
    sheet = Image.new(
        "RGB", (columns * (width + margin) + margin, rows * (height + band) + (rows + 1) * margin // 2), "white"
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for index, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
        left = margin + (index % columns) * (width + margin)
        top = margin // 2 + (index // columns) * (height + band + margin // 2)
        pen.text((left, top + band / 2), title, INK, font, anchor="lm")
        sheet.paste(picture, (left, top + band))
    return sheet


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


def window(points: Points) -> tuple[float, float, float]:
    """A square that holds all points but outliers: its centre x and y, and half its side."""
    finite = points[np.isfinite(points).all(1)].astype(np.float64)
    if not len(finite):
        return 0.0, 0.0, 1.0
    low, high = np.quantile(finite, [0.005, 0.995], axis=0)
    half = _round_up(1.1 * float((high - low).max()) / 2 or 1.0)
    # Rounded, so that pictures of nearly the same points can be laid side by side.
    x, y = (round(float(middle) / half * 5) * half / 5 for middle in (low + high) / 2)
    return x, y, half


def _round_up(value: float) -> float:
    """The next of 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12.5, ..."""
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * nice for nice in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if unit * nice >= value * 0.999)


def plane(axes: Any, view: tuple[float, float, float]) -> None:
    """Make axes a square piece of the plane: equal scales, no frame, and the grid as the only measure."""
    x, y, half = view
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(labelcolor=FAINT, labelsize=6, pad=1)
    axes.locator_params(nbins=5)


@styled
def scatter(points: Points, where: Float[np.ndarray, "places 2"] | None = None) -> Image.Image:
    """Points of the plane: equal axes, outliers left outside.

    where: points whose place the axes show, so that pictures of several sets can be compared; those themselves if none.
    """
    figure = new_figure(480, 480)
    axes = figure.subplots()
    plane(axes, window(points if where is None else where))
    size, alpha = np.clip([8000 / max(len(points), 1), 800 / max(len(points), 1)], [1.5, 0.25], [16, 0.9])
    axes.scatter(*points.T, s=size, alpha=alpha, color="#3455c8", linewidths=0)
    return picture_of(figure)


def direction(measure: str) -> str:
    """Which way a measure of quality is good, in words; nothing for a measure that we do not know."""
    if any(part in measure for part in LOWER_IS_BETTER):
        return "lower is better"
    return "higher is better" if measure in HIGHER_IS_BETTER else ""


def measures_of(evaluation: dict[str, Any]) -> list[str]:
    """The names of the measures of quality in an evaluation; `_real` ones are marks for real data, not measures."""
    names = dict.fromkeys(name for row in evaluation["steps"].values() for name in row)
    return [name for name in names if name not in ("seconds", "guidance") and not name.endswith("_real")]


@styled
def quality_curves(evaluation: dict[str, Any]) -> Image.Image:
    """Each measure of an evaluation against the number of steps."""
    rows = {int(steps): row for steps, row in evaluation["steps"].items()}
    names = measures_of(evaluation)
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(max(500 * columns, 640), 400 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        _measure(axes, name, rows)
    return picture_of(figure)


def _measure(axes: Any, name: str, rows: dict[int, dict[str, float]]) -> None:
    """One measure against the steps, each point in the colour of its budget."""
    steps = [n for n in sorted(rows) if math.isfinite(rows[n].get(name, math.nan))]
    values = [rows[n][name] for n in steps]
    axes.plot(steps, values, color="#c5cad3", zorder=2)
    axes.scatter(steps, values, s=22, c=[colour_of(n, max(rows)) for n in steps], zorder=3, linewidths=0, clip_on=False)
    real = [row[f"{name}_real"] for row in rows.values() if f"{name}_real" in row]
    if real:
        axes.axhline(real[0], color=FAINT, linestyle=(0, (4, 3)), linewidth=1, label="real data")
        axes.legend(loc="lower right")
    axes.set_xscale("log", base=2)
    powers = [2**k for k in range(max(rows).bit_length())]
    axes.set_xticks(powers, [str(n) for n in powers])
    axes.set(title=name.replace("_", " "), xlabel="steps", xlim=(0.8, 1.25 * max(rows)))
    axes.set_title(direction(name), loc="right", fontsize=6.5, color=FAINT, weight="normal")
    found = [*values, *real]
    if name in SHARES and found:  # not so near that noise looks like a trend
        axes.set_ylim(min(0.9, min(found) - 0.05), 1.005)
    elif found and min(found) >= 0:
        axes.set_ylim(0, 1.15 * max(found) or 1)
