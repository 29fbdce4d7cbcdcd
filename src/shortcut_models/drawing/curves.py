"""Measures of quality against the number of steps, or the size of the network."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..metrics.catalogue import SHARES, direction, measures_of
from ..text import counted, large
from .style import FAINT, colour_of, new_figure, picture_of, rainbow, styled


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


Values = dict[str, dict[int, dict[str, list[float]]]]
"""measure -> steps -> method or run -> one value a seed"""


def panels(names: Sequence[str], draw: Callable[[Any, str], None]) -> Image.Image:
    """A panel for each measure, which `draw` fills, with one legend below all."""
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(max(560 * columns, 760), 440 * rows + 120)
    found = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in found[len(names) :]:
        axes.set_visible(False)
    for axes, measure in zip(found, names, strict=False):
        draw(axes, measure)
        axes.set(title=measure.replace("_", " "))
        axes.set_title(direction(measure), loc="right", fontsize=6.5, color=FAINT, weight="normal")
        if direction(measure).startswith("lower") and min(line.get_ydata().min() for line in axes.lines) > 0:
            axes.set_yscale("log")
    handles, labels = found[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    return picture_of(figure)


@styled
def against_steps(values: Values, methods: Sequence[str]) -> Image.Image:
    """Each measure against the number of steps, a line a method: the mean, and the range over the seeds."""
    colours = dict(zip(methods, rainbow(len(methods)), strict=True))

    def draw(axes: Any, measure: str) -> None:
        for method, colour in colours.items():
            steps = [n for n in sorted(values[measure]) if method in values[measure][n]]
            found = [values[measure][n][method] for n in steps]
            look = {"linewidth": 2.2, "zorder": 4} if method == "shortcut" else {}
            means = np.array([statistics.fmean(x) for x in found])
            axes.plot(steps, means, "o-", ms=3, color=colour, label=method, **look)
            axes.fill_between(steps, [min(x) for x in found], [max(x) for x in found], color=colour, alpha=0.12, lw=0)
        every = sorted(values[measure])
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [str(n) for n in every])
        axes.set(xlabel="steps")

    return panels(list(values), draw)


@styled
def against_size(values: Values, sizes: Mapping[str, int]) -> Image.Image:
    """Each measure against the parameters of the network, a line a number of steps."""

    def draw(axes: Any, measure: str) -> None:
        most = max(values[measure])
        for steps, by_run in sorted(values[measure].items()):
            found = sorted((sizes[run], statistics.fmean(numbers)) for run, numbers in by_run.items())
            x, y = np.array(found).T
            axes.plot(x, y, "o-", ms=3, color=colour_of(steps, most), label=counted(steps))
        ticks = sorted(set(sizes.values()))
        axes.set_xscale("log")
        axes.set_xticks(ticks, [large(size) for size in ticks])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="parameters")

    return panels(list(values), draw)
