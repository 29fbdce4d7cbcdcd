"""Results of evaluations: on the disk, in words, and as tables."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..metrics.catalogue import AT_CHANCE, NEAR_REAL, REAL, chance_of, metric, standing
from ..system.progress import print_beside_bar
from ..text import format_name, format_steps, format_table, quote

MODEL = ("step", "weights", "autoencoder")  # entries of a result that identify the model


def read_result(path: Path, run: Path) -> dict[str, Any] | None:
    """Return the result that `shortcut evaluate` wrote for a run, or None. Raises UserError if it is damaged."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        rows = found["steps"].values()
        facts = {"num", "seed", "guidance", "step", "machine"}
        numbers = [found["num"], found["step"], *map(int, found["steps"]), *(row["seconds"] for row in rows)]
        if rows and set(found) >= facts and all(isinstance(number, (int, float)) for number in numbers):
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{path} is damaged: run `shortcut evaluate {quote(run)}` again")


def describe_better_existing(path: Path, result: dict[str, Any]) -> str:
    """Describe the result in a file if it is of the same model and has more than a new one; else return ""."""
    try:
        found = json.loads(path.read_bytes())
        same, num, counts = _agree(found, result, MODEL), int(found["num"]), set(found["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    more = num > result["num"] or (num == result["num"] and counts > set(result["steps"]))
    return f"{num:,} samples at {len(counts)} number{'s' * (len(counts) > 1)} of steps" if more and same else ""


def merge_fid_results(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Return a new result of FID with the other rows of a file of the same model, noises, precision and reference."""
    try:
        found = json.loads(path.read_bytes())
        same = _agree(found, result, (*MODEL, "num", "seed", "reference"))
        if not same or precision_of(found) != precision_of(result):
            return result
        rows = found["steps"] | result["steps"]
        old = [check for check in found["checks"] if not set(check["steps"]) <= set(map(int, result["steps"]))]
        one = len({row["guidance"] for row in rows.values()}) == 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return result
    guidance = result["guidance"] if one else None
    return result | {"guidance": guidance, "steps": rows, "checks": old + result["checks"]}


def _agree(found: dict[str, Any], result: dict[str, Any], names: Sequence[str]) -> bool:
    return all(found.get(name) == result.get(name) for name in names)


def precision_of(result: Mapping[str, Any]) -> str:
    """Return the arithmetic of a result; early ones, which do not say, are all fp32."""
    return str(result.get("precision", "fp32"))


def guidance_of(result: dict[str, Any]) -> dict[int, float]:
    """Return the guidance of each row of a result, by its number of steps."""
    return {int(steps): row.get("guidance", result["guidance"]) for steps, row in result["steps"].items()}


def guided(weights: Mapping[int, float]) -> str:
    """Describe the guidance of each number of steps; "" if there is none."""
    found = set(weights.values())
    if len(found) == 1:
        return f"guidance {found.pop():g}" if found != {1} else ""
    parts = []
    for weight in sorted(found - {1}):
        *some, last = sorted(n for n in weights if weights[n] == weight)
        parts.append(f"{weight:g} in {' and '.join([*map(str, some), format_steps(last)])}")
    return "guidance " + ", ".join(parts)


def verdict(evaluation: Mapping[str, Any]) -> str:
    """Return in one sentence where samples in the fewest and most steps are between what was not learned and real data.

    They are near real data where all measures are, and at chance where most measures are; see `standing`.
    """
    counts = sorted(map(int, evaluation["steps"]))
    said = [_verdict(evaluation, steps) for steps in dict.fromkeys((counts[0], counts[-1]))]
    return ", ".join(filter(None, said)) or "no verdict: no measure has both a direction and a value of real data"


def _verdict(evaluation: Mapping[str, Any], steps: int) -> str:
    row, real = evaluation["steps"][str(steps)], evaluation["real"]
    chance = {name: chance_of(name, value) for name, value in evaluation["chance"].items()}
    beyond = [name for name in row if name in chance]
    stands = {name: standing(name, row[name], chance[name], real.get(name, math.nan)) for name in beyond}
    known = {name: way for name, way in stands.items() if way is not None}
    where = f"in {format_steps(steps)}"
    if not known:
        errors = [name for name in row if name in beyond and metric(name).better == "lower" and chance[name] > 0]
        share = row[errors[0]] / chance[errors[0]] if errors and not real else math.nan
        level = "at chance: " if share >= 1 - AT_CHANCE else ""
        by = f"{where} {level}{format_name(errors[0])} is {share:.0%} of that by chance" if errors else ""
        return by if math.isfinite(share) else ""
    worst = min(known, key=lambda name: (known[name], name))
    values = [f"{metric(worst).format(each[worst])}" for each in (row, real, chance)]
    by = "{}: {} of samples, {} of real data, {} by chance".format(format_name(worst), *values)
    if known[worst] >= NEAR_REAL:
        return f"{where} near real data (at least in {by})"
    if statistics.median(known.values()) <= AT_CHANCE:
        return f"{where} at chance ({by})"
    return f"{where} far from real data ({by})"


class Rows:
    """Prints the rows of a table one by one, as they come."""

    WIDTH = 9  # of a column at least

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, row: Mapping[str, float]) -> None:
        """Print a row; a head before the first, and before one that has other columns."""
        measured = [each for each in row if not each.endswith(REAL)]
        if not {*measured} <= {*self.names}:
            self.names = list(dict.fromkeys((*measured, "seconds")))
            self._print("steps", self.names)
        self._print(name, [f"{row[each]:.4g}" if each in row else "" for each in self.names])

    def _print(self, name: str, cells: Sequence[str]) -> None:
        widths = [max(self.WIDTH, len(each)) for each in self.names]
        shown = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        print_beside_bar("  ".join([f"{name:>6}", *shown]).rstrip())


def distances(result: Mapping[str, Any]) -> str:
    """Return the distances to the samples in the most steps, in one line; "" where there are none."""
    found = {int(n): row["distance_to_finest"] for n, row in result["steps"].items() if "distance_to_finest" in row}
    each = ", ".join(f"{value:.4g} in {format_steps(n)}" for n, value in found.items())
    return f"distance_to_finest: {each}" if found else ""


def table(result: dict[str, Any]) -> str:
    """Return the result of `evaluate` as a table, with a row for each number of steps."""
    rows = result["steps"]
    names = list(next(iter(rows.values())))
    cells = [[steps, *(f"{row[name]:.4g}" for name in names)] for steps, row in rows.items()]
    return format_table([["steps", *names], *cells])
