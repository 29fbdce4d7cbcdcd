"""Curves: measures of quality against the number of steps or the size of the network, and chunks of actions."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from ..metrics.catalogue import REAL, metric, quality_measures
from ..text import format_count, format_name, format_steps
from .style import FAINT, colour_of, new_panels, picture_of, rainbow, styled

Values = dict[str, dict[int, dict[str, list[float]]]]  # measure -> steps -> method or run -> one value for each seed


def _steps_axis(axes: Any, ticks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, ticks)
    axes.set_xlabel("steps")


def _titles(axes: Any, measure: str) -> None:
    axes.set_title(format_name(measure))
    axes.set_title(metric(measure).direction, loc="right", fontsize=6.5, color=FAINT, weight="normal")


@styled()
def quality_curves(evaluation: dict[str, Any]) -> Image.Image:
    """Draw each measure of an evaluation against the number of steps."""
    rows = {int(steps): row for steps, row in evaluation["steps"].items()}
    names = quality_measures(evaluation)
    figure, panels = new_panels(len(names), 3, 640 if len(names) == 1 else 500, 400)
    most = max(rows)
    for axes, name in zip(panels, names, strict=True):
        steps = [n for n in sorted(rows) if math.isfinite(rows[n].get(name, math.nan))]
        values = [rows[n][name] for n in steps]
        axes.plot(steps, values, color="#c5cad3", zorder=2)
        colours = [colour_of(n, most) for n in steps]
        axes.scatter(steps, values, s=22, c=colours, zorder=3, linewidths=0, clip_on=False)
        known = [evaluation.get("real", {}).get(name), *(row.get(name + REAL) for row in rows.values())]
        real = [value for value in known if value is not None and math.isfinite(value)]
        if real:
            axes.axhline(real[0], color=FAINT, linestyle=(0, (4, 3)), linewidth=1, label="real data")
            axes.legend(loc="lower right")
        _steps_axis(axes, [2**k for k in range(most.bit_length())])
        axes.set_xlim(0.8, 1.25 * most)
        _titles(axes, name)
        drawn = [*values, *real]
        if metric(name).is_fraction and drawn:  # not so near that noise looks like a trend
            axes.set_ylim(min(0.9, min(drawn) - 0.05), 1.005)
        elif drawn and min(drawn) >= 0:
            axes.set_ylim(0, 1.15 * max(drawn) or 1)
    return picture_of(figure)


def _panels(measures: Sequence[str], draw: Callable[[Any, str], None]) -> Image.Image:
    """Draw a panel for each measure, which `draw` fills, with one legend below all."""
    figure, panels = new_panels(len(measures), 3, 760 if len(measures) == 1 else 560, 440)
    for axes, measure in zip(panels, measures, strict=True):
        draw(axes, measure)
        _titles(axes, measure)
        if metric(measure).better == "lower" and min(line.get_ydata().min() for line in axes.lines) > 0:
            axes.set_yscale("log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.set_figheight(figure.get_figheight() + 0.75)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    return picture_of(figure)


@styled()
def against_steps(values: Values, methods: Sequence[str]) -> Image.Image:
    """Draw each measure against the number of steps, a line a method: the mean, and the range over the seeds."""
    colours = dict(zip(methods, rainbow(len(methods)), strict=True))

    def draw(axes: Any, measure: str) -> None:
        for method, colour in colours.items():
            steps = [n for n in sorted(values[measure]) if method in values[measure][n]]
            found = [values[measure][n][method] for n in steps]
            look = {"linewidth": 2.2, "zorder": 4} if method == "shortcut" else {}
            axes.plot(steps, [statistics.fmean(x) for x in found], "o-", ms=3, color=colour, label=method, **look)
            axes.fill_between(steps, [min(x) for x in found], [max(x) for x in found], color=colour, alpha=0.12, lw=0)
        _steps_axis(axes, sorted(values[measure]))

    return _panels(list(values), draw)


@styled()
def against_size(values: Values, sizes: Mapping[str, int]) -> Image.Image:
    """Draw each measure against the parameters of the network, a line a number of steps."""

    def draw(axes: Any, measure: str) -> None:
        most = max(values[measure])
        for steps, by_run in sorted(values[measure].items()):
            found = sorted((sizes[run], statistics.fmean(numbers)) for run, numbers in by_run.items())
            axes.plot(*np.array(found).T, "o-", ms=3, color=colour_of(steps, most), label=format_steps(steps))
        ticks = sorted(set(sizes.values()))
        axes.set_xscale("log")
        axes.set_xticks(ticks, [format_count(size) for size in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("parameters")

    return _panels(list(values), draw)


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
