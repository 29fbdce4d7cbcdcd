"""The curves of a run's losses over its training, at each step size on its own."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter1d

from .style import INK, Colour, colour_of, new_figure, picture_of, rainbow, styled

FEW = 60  # values of the log that are drawn as they are; of more the running mean over a thirtieth


def _curve(axes: Any, metrics: Iterable[dict[str, Any]], key: str, label: str, colour: Any, **look: Any) -> None:
    """Draw one number of the log: smoothed, and faintly as it is."""
    found = [(line["step"], line[key]) for line in metrics if math.isfinite(line.get(key, math.nan))]
    if found:
        steps, values = np.array(found, dtype=np.float64).T
        if len(values) > FEW:
            axes.plot(steps, values, color=colour, alpha=0.18, linewidth=0.7)
        smooth = uniform_filter1d(values, 2 * (len(values) // FEW) + 1)
        axes.plot(steps, smooth, color=colour, label=label, **look)


def step_size_losses(names: Iterable[str]) -> dict[str, tuple[str, Colour]]:
    """Return those names in a log that are a loss at one step size, with label and colour; d = 1 comes first.

    The objectives name them "d=1/1", "d=1/2", ... and "flow", which is the next finer one.
    """
    known = set(names)
    powers = sorted(int(name.removeprefix("d=1/")) for name in known if name.startswith("d=1/"))
    keys = {f"d=1/{n}": "d = 1" if n == 1 else f"d = 1/{n}" for n in powers}
    if "flow" in known:
        keys["flow"] = f"d = 1/{2 * powers[-1]}" if powers else "flow"
    colours = rainbow(len(keys)) if powers else [colour_of(2, 2)] * len(keys)
    return {key: (label, colour) for (key, label), colour in zip(keys.items(), colours, strict=True)}


@styled()
def loss_curves(metrics: list[dict[str, Any]]) -> Image.Image:
    """Draw loss and held-out loss over the training steps, and beside them the loss at each step size."""
    levels = step_size_losses(name for line in metrics for name in line)
    figure = new_figure(1500, 560)
    total, single = figure.subplots(1, 2)
    _curve(total, metrics, "loss", "training", INK)
    _curve(total, metrics, "heldout_loss", "held out (EMA)", "#e8590c", marker="o", markersize=3)
    for key, (label, colour) in levels.items():
        _curve(single, metrics, key, label, colour)
    for axes, title in ((total, "Loss"), (single, "Loss at each step size")):
        axes.set(title=title, xlabel="training step")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=6)
        _log_scale(axes)
        if axes.has_data():
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2, handlelength=1.2)
    return picture_of(figure)


def _log_scale(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    # In the first steps all outputs are alike and losses near 0: these may be outside the picture.
    late = [line.get_ydata()[line.get_xdata() > 0.1 * axes.get_xlim()[1]] for line in axes.lines]
    low = 0.8 * min((part.min() for part in late if len(part)), default=0.0)
    if low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low, 1.15 * max(line.get_ydata().max() for line in axes.lines))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
