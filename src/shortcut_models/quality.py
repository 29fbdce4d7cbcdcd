"""Quality of several methods or runs, side by side: against the number of steps, or the size of the network."""

from __future__ import annotations

import io
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .errors import UserError
from .evaluation import read_result
from .figures import FAINT, colour_of, direction, measures_of, new_figure, picture_of, rainbow, styled
from .markup import counted, large
from .model import load
from .runs import Run, write_atomically

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


def names_of(runs: Sequence[Path]) -> dict[str, Path]:
    """Runs by their own names, or by their paths where two have the same."""
    short = {run.resolve().name: run for run in runs}
    return short if len(short) == len(runs) else {str(run): run for run in runs}


def collect(runs: Mapping[str, Path], steps: Sequence[int] | None, measures: Sequence[str] | None) -> Values:
    """What is known of all runs: their FID where all have it, or else what `shortcut evaluate` found without.

    Raises UserError where a run has not been evaluated, or nothing is left of what is asked for.
    """
    files = {name: Run(path) for name, path in runs.items()}
    for run in files.values():
        run.read_config()
    all_fid = all(run.fid_result.exists() for run in files.values())
    values: Values = defaultdict(lambda: defaultdict(dict))
    for name, run in files.items():
        found = read_result(run.fid_result if all_fid else run.evaluation, run.path)
        if found is None:
            raise UserError(f"{run.path} has not been evaluated: run `shortcut evaluate {run.path}` first")
        for budget, row in found["steps"].items():
            for measure in measures_of(found) if steps is None or int(budget) in steps else []:
                if measure in row and (measures is None or measure in measures):
                    values[measure][int(budget)][name] = [row[measure]]
    if not values:
        raise UserError("nothing is known of these steps and measures: evaluate them first, or leave out what to show")
    return values


def plot(
    runs: Sequence[Path], out: Path, against: str, steps: Sequence[int] | None, measures: Sequence[str] | None
) -> None:
    """Draw the quality of runs into a PNG file.

    Args:
        runs: run directories, evaluated.
        out: the file.
        against: "steps" or "size", the parameters of the network.
        steps: numbers of steps to show, or None for all.
        measures: names of measures to show, or None for all.

    Raises:
        UserError: a run that is none or has not been evaluated, or nothing to show.
    """
    named = names_of(list(dict.fromkeys(runs)))
    values = collect(named, steps, measures)
    if against == "size":
        sizes = {name: sum(p.numel() for p in load(path).network.parameters()) for name, path in named.items()}
        picture = against_size(values, sizes)
    else:
        picture = against_steps(values, list(named))
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_atomically(out, content.getvalue())
