"""The curves of a run's losses over its training, at each step size on its own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from .style import INK, Colour, colour_of, new_figure, picture_of, rainbow, styled


def _smooth(values: np.ndarray) -> np.ndarray:
    """The running mean over a thirtieth of all values; shorter at both ends."""
    reach = len(values) // 60
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _curve(axes: Any, metrics: Iterable[dict[str, Any]], key: str, label: str, colour: Any, **look: Any) -> None:
    """One figure of the log over the steps: faintly as it is, and smoothed."""
    found = [(line["step"], line[key]) for line in metrics if math.isfinite(line.get(key, math.nan))]
    if found:
        steps, values = np.array(found, dtype=np.float64).T
        if len(values) > 60:
            axes.plot(steps, values, color=colour, alpha=0.18, linewidth=0.7)
        axes.plot(steps, _smooth(values), color=colour, label=label, **look)


def step_size_losses(names: Iterable[str]) -> dict[str, tuple[str, Colour]]:
    """Of the names in a log, those of a loss at one step size -> its label and colour; d = 1 comes first.

    The objectives name them "d=1/1", "d=1/2", ... and "flow", which is the next finer one.
    """
    known = set(names)
    powers = sorted(int(name.removeprefix("d=1/")) for name in known if name.startswith("d=1/"))
    keys = {f"d=1/{n}": "d = 1" if n == 1 else f"d = 1/{n}" for n in powers}
    if "flow" in known:
        keys["flow"] = f"d = 1/{2 * powers[-1]}" if powers else "flow"
    colours = rainbow(len(keys)) if powers else [colour_of(2, 2)] * len(keys)
    return {key: (label, colour) for (key, label), colour in zip(keys.items(), colours, strict=True)}


@styled
def loss_curves(metrics: list[dict[str, Any]]) -> Image.Image:
    """Loss and held-out loss over the training steps; beside them the loss at each step size. Log scales upwards."""
    levels = step_size_losses(name for line in metrics for name in line)
    figure = new_figure(1500, 560)
    total, single = figure.subplots(1, 2)
    _curve(total, metrics, "loss", "training", INK)
    _curve(total, metrics, "heldout_loss", "held out (EMA)", "#e8590c", marker="o", markersize=3)
    for key, (label, colour) in levels.items():
        _curve(single, metrics, key, label, colour)
    for axes, title in ((total, "Loss"), (single, "Loss at each step size")):
        axes.set(title=title, xlabel="training step")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.locator_params(axis="x", nbins=6)
        _log_scale(axes)
        if axes.has_data():
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2, handlelength=1.2)
    return picture_of(figure)


def _log_scale(axes: Any) -> None:
    """A logarithmic axis, where losses are above 0, with numbers such as 0.2: powers of ten alone are too few.

    Values of the first steps, when all outputs are still alike and losses near 0, may fall out of the picture.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    begin = 0.1 * axes.get_xlim()[1]
    late = [line.get_ydata()[line.get_xdata() > begin] for line in axes.lines]
    low = 0.8 * min((part.min() for part in late if len(part)), default=0.0)
    high = 1.15 * max((line.get_ydata().max() for line in axes.lines), default=0.0)
    if not 0 < low < high:
        return
    axes.set(yscale="log", ylim=(low, high))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
