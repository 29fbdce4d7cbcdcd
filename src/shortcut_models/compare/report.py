"""A comparison as tables (Markdown, CSV), JSON, a figure of quality against steps, and a sheet of samples."""

import csv
import datetime
import io
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tabulate import tabulate

from ..drawing.curves import Values, against_steps
from ..drawing.png import save_png
from ..drawing.sheets import stack
from ..metrics.catalogue import metric
from ..objectives import OBJECTIVES
from ..system.files import write_atomically, write_json
from ..text import format_name
from .comparison import Comparison
from .winner import ONE_SEED, RULE, winner

SHEET = 16  # samples of a method at a number of steps on the sheet


def write_report(comparison: Comparison) -> list[Path]:
    """Write all results so far, and return the paths."""
    found, out = comparison.results(), comparison.out
    values = collect(comparison, found)
    texts = {"table.md": markdown(comparison, values, found), "results.csv": table_of_values(comparison, values)}
    for name, text in texts.items():
        write_atomically(out / name, text.encode())
    everything = {
        **comparison.settings(),
        "date": datetime.date.today().isoformat(),
        "machine": next(iter(found.values()))["machine"],
        "num": comparison.num,
        "cost": {name: evaluation["cost"] for name, evaluation in found.items()},
        "values": values,
        "winners": {
            measure: {steps: winner(measure, row) for steps, row in by_steps.items()}
            for measure, by_steps in values.items()
        },
    }
    write_json(out / "results.json", everything)
    pictures = {"samples.png": samples(comparison)}
    if values:
        pictures = {"quality.png": against_steps(values, comparison.methods)} | pictures
    for name, picture in pictures.items():
        save_png(out / name, picture)
    return [out / name for name in (*texts, "results.json", *pictures)]


def collect(comparison: Comparison, found: dict[str, dict[str, Any]]) -> Values:
    """Return the measures by name, steps and method, the task's primary one first."""
    values: Values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for method in comparison.methods:
        for seed in range(comparison.seeds):
            name = f"{method}-seed{comparison.recipe.training.seed + seed}"
            for steps in comparison.steps:
                for measure, value in found[name]["steps"][str(steps)].items():
                    values[measure][steps][method].append(value)
    shown = [measure for measure in values if metric(measure).is_quality]
    primary = comparison.recipe.task.primary_metric or next(iter(shown), "")
    return {measure: values[measure] for measure in sorted(shown, key=lambda measure: measure != primary)}


def _cell(numbers: Sequence[float], *, bold: bool) -> str:
    mean = statistics.fmean(numbers)
    text = f"{mean:.3g}" if len(numbers) == 1 else f"{mean:.3g} ± {statistics.stdev(numbers):.1g}"
    return f"**{text}**" if bold else text


def groups(methods: Sequence[str]) -> dict[str, list[str]]:
    """Return the methods as the paper's table groups them: those of two phases, and those trained from end to end."""
    found: dict[str, list[str]] = {"Distillation in two phases": [], "Trained from end to end": []}
    for method in methods:
        found[list(found)[OBJECTIVES[method].requires == "data"]].append(method)
    return {title: group for title, group in found.items() if group}


def markdown(comparison: Comparison, values: Values, found: dict[str, dict[str, Any]]) -> str:
    """Return a table for each measure, in the paper's layout, and one of the costs."""
    seeds = f"{comparison.seeds} seeds (mean ± deviation)" if comparison.seeds > 1 else "1 seed"
    lines = [
        f"# {comparison.name}: {len(comparison.methods)} methods at equal compute",
        "",
        f"{comparison.nfe_budget:,} network evaluations a training (an example forward counts 1, forward and backward "
        f"3, the teacher's phases included), {comparison.num:,} samples, {seeds}.",
    ]
    for measure, by_steps in values.items():
        direction = f" ({metric(measure).direction})" if metric(measure).better else ""
        rows, best = [], {steps: winner(measure, row) for steps, row in by_steps.items()}
        for group, methods in groups(comparison.methods).items():
            rows.append([f"*{group}*", *[""] * len(by_steps)])
            for method in methods:
                cells = [_cell(row[method], bold=best[steps] == method) for steps, row in by_steps.items()]
                rows.append([method, *cells])
        lines += ["", f"## {format_name(measure)}{direction}", "", _table([f"{n}-step" for n in by_steps], rows)]
        if metric(measure).better and metric(measure).ranks_methods and len(comparison.methods) > 1:
            lines += ["", RULE if comparison.seeds > 1 else ONE_SEED]
    costs = _table(
        ["teacher", "pairs", "training", "evaluations in all", "seconds of its own"], _costs(comparison, found)
    )
    return "\n".join([*lines, "", "## Cost", "", costs]) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["left", *["right"] * len(heads)]
    return tabulate(rows, ["", *heads], tablefmt="pipe", disable_numparse=True, colalign=align)


def _costs(comparison: Comparison, found: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return the network evaluations and seconds of each method."""
    rows = []
    for method in comparison.methods:
        runs = [evaluation for name, evaluation in found.items() if name.rpartition("-seed")[0] == method]
        cost = runs[0]["cost"]
        parts = [f"{cost[phase]:,}" if phase in cost else "" for phase in ("teacher", "pairs", "training")]
        # A run whose log is lost has no time.
        known = [run["training_seconds"] for run in runs if run["training_seconds"] is not None]
        seconds = f"{statistics.fmean(known):.0f}" if known else "unknown"
        rows.append([method, *parts, f"{sum(cost.values()):,}", seconds])
    return rows


def table_of_values(comparison: Comparison, values: Values) -> str:
    """Return every value as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "seed", "steps", "measure", "value"])
    first = comparison.recipe.training.seed
    for measure, by_steps in values.items():
        for steps, by_method in by_steps.items():
            for method, numbers in by_method.items():
                writer.writerows([method, first + seed, steps, measure, value] for seed, value in enumerate(numbers))
    return text.getvalue()


def samples(comparison: Comparison) -> Image.Image:
    """Draw samples of each method (a column) in each number of steps (a row), all from the same noises."""
    shown, columns = comparison.recipe.task.preview_grid
    num = min(SHEET, shown) if columns > 1 else SHEET * 64
    found, titles, pictures = comparison.models(), [], []
    for steps in comparison.steps:
        for method, model in found.items():
            titles.append(f"{method}, {steps}")
            pictures.append(model.draw(model.sample(num, steps=steps), model.labels(num), 4))
    return stack(titles, pictures, columns=len(found))
