"""Quality of several methods or runs, side by side: against the number of steps, or the size of the network."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..drawing.curves import Values, against_size, against_steps
from ..drawing.png import save_png
from ..errors import UserError
from ..evaluation.results import guidance_of, guided, precision_of, read_result
from ..metrics.catalogue import quality_measures
from ..models.loading import load
from ..models.run import Run
from ..text import quote

Results = Mapping[str, dict[str, Any]]  # results of `shortcut evaluate`, by the names of runs


def names_of(runs: Sequence[Path]) -> dict[str, Path]:
    """Return runs by their own names, or by their paths where two have the same."""
    short = {run.resolve().name: run for run in runs}
    return short if len(short) == len(runs) else {str(run): run for run in runs}


def results_of(runs: Mapping[str, Path]) -> Results:
    """Return results that all runs have, and that compare: their FID, or else what was found without."""
    files = {name: Run(path) for name, path in runs.items()}
    for run in files.values():
        run.read_config()
    all_fid = all(run.fid_result.exists() for run in files.values())
    results = {}
    for name, run in files.items():
        found = read_result(run.fid_result if all_fid else run.evaluation, run.path)
        if found is None:
            raise UserError(f"{run.path} has not been evaluated: run `shortcut evaluate {quote(run.path)}` first")
        results[name] = found
    for option, (fact, words) in COMPARED.items():
        (first, one), *others = ((name, found) for name, found in results.items())
        for name, other in others:
            if fact(other) != fact(one):
                raise UserError(
                    f"{first} was evaluated {words(one)} and {name} {words(other)}, which do not compare: "
                    f"evaluate both with the same {option}"
                )
    return results


def _reference(result: dict[str, Any], name: str) -> Any:
    """Return a fact of what FID compares with; None where it was not measured."""
    return (result.get("reference") or {}).get(name)


COMPARED: dict[str, tuple[Callable[[dict[str, Any]], Any], Callable[[dict[str, Any]], str]]] = {
    "--num": (lambda r: r["num"], lambda r: f"by {r['num']:,} samples"),
    "--inception": (lambda r: _reference(r, "network"), lambda r: f"by network {str(_reference(r, 'network'))[:8]}"),
    "--precision": (precision_of, lambda r: f"in {precision_of(r)}"),
    "--fid-stats": (lambda r: _reference(r, "sha256"), lambda r: f"against {_reference(r, 'source')}"),
}
"""what must be the same for results to compare, by the option that decides it: its value, and that value in words"""


def distinct_names(results: Results, steps: Sequence[int] | None) -> list[str]:
    """Return the names of runs, with their guidance where that differs at a number of steps that is shown."""
    weights = {
        name: {n: weight for n, weight in guidance_of(found).items() if steps is None or n in steps}
        for name, found in results.items()
    }
    shown = {n for of_run in weights.values() for n in of_run}
    if all(len({of_run[n] for of_run in weights.values() if n in of_run}) == 1 for n in shown):
        return list(results)
    return [f"{name} ({guided(of_run) or 'no guidance'})" for name, of_run in weights.items()]


def collect(results: Results, steps: Sequence[int] | None, measures: Sequence[str] | None) -> Values:
    """Return the values to draw, of these numbers of steps and measures; None is all."""
    values: Values = defaultdict(lambda: defaultdict(dict))
    for name, found in results.items():
        for measure in quality_measures(found):
            for n, row in found["steps"].items():
                wanted = (steps is None or int(n) in steps) and (measures is None or measure in measures)
                if wanted and measure in row:
                    values[measure][int(n)][name] = [row[measure]]
    if not values:
        raise UserError(
            "no run has results of these steps and measures: evaluate them first, or leave --steps and --measures out"
        )
    return values


def plot(
    runs: Sequence[Path], out: Path, against: str, steps: Sequence[int] | None, measures: Sequence[str] | None
) -> None:
    """Draw the quality of runs into a PNG file, against "steps" or "size"; steps, measures: None shows all."""
    named = names_of(list(dict.fromkeys(runs)))
    results = results_of(named)
    names = distinct_names(results, steps)
    if against == "size":
        if names != list(results):
            raise UserError(f"{' and '.join(names)} do not compare: evaluate them with the same --guidance")
        sizes = {name: sum(p.numel() for p in load(path).network.parameters()) for name, path in named.items()}
        picture = against_size(collect(results, steps, measures), sizes)
    else:
        found = dict(zip(names, results.values(), strict=True))
        picture = against_steps(collect(found, steps, measures), names)
    save_png(out, picture)
