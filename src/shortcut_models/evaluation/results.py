"""Results of evaluations: on the disk, in words, and as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..text import format_steps, format_table

MODEL = ("step", "weights", "autoencoder")
"""what a result says of the model behind it"""


def read_result(path: Path, run: Path) -> dict[str, Any] | None:
    """A result that `shortcut evaluate` wrote for a run, if it did. Raises UserError where it is damaged."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        rows = found["steps"].values()
        facts = {"num", "seed", "guidance", "step", "machine"}
        if rows and all("seconds" in row for row in rows) and set(found) >= facts:
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{path} is damaged: run `shortcut evaluate {run}` again")


def describe_better_existing(path: Path, result: dict[str, Any]) -> str:
    """What a file holds, in words, where that is of the same model and says more than a new result; else ""."""
    try:
        found = json.loads(path.read_bytes())
        same, num, budgets = _agree(found, result, MODEL), int(found["num"]), set(found["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    more = num > result["num"] or (num == result["num"] and budgets > set(result["steps"]))
    return f"{num:,} samples at {len(budgets)} numbers of steps" if more and same else ""


def together(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """A new result of FID with the rows that a file holds besides, where they compare: they are of the same model, the
    same noises, the same precision and the same reference. Guidance may differ, as it is said of each row.
    """
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
    """The arithmetic behind a result; one that does not say so is from when there was only one."""
    return str(result.get("precision", "fp32"))


def guidance_of(result: dict[str, Any]) -> dict[int, float]:
    """The guidance behind each row of a result, by its number of steps."""
    return {int(steps): row.get("guidance", result["guidance"]) for steps, row in result["steps"].items()}


def guided(weights: Mapping[int, float]) -> str:
    """Guidance of each number of steps, in words; "" where there is none."""
    found = set(weights.values())
    if len(found) == 1:
        return f"guidance {found.pop():g}" if found != {1} else ""
    parts = []
    for weight in sorted(found - {1}):
        *some, last = sorted(n for n in weights if weights[n] == weight)
        parts.append(f"{weight:g} in {' and '.join([*map(str, some), format_steps(last)])}")
    return "guidance " + ", ".join(parts)


def table(result: dict[str, Any]) -> str:
    """Return the result of `evaluate` as a table, with a row for each number of steps."""
    rows = result["steps"]
    names = list(next(iter(rows.values())))
    return format_table([
        ["steps", *names], *([steps, *(f"{row[name]:.4g}" for name in names)] for steps, row in rows.items())
    ])  # fmt: skip
