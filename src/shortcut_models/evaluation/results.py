"""Results of evaluations: on the disk, in words, and as tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..text import format_steps, format_table, quote

MODEL = ("step", "weights", "autoencoder")  # entries of a result that identify the model


def read_result(path: Path, run: Path) -> dict[str, Any] | None:
    """Return the result that `shortcut evaluate` wrote for a run, or None. Raises UserError if it is damaged."""
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
    raise UserError(f"{path} is damaged: run `shortcut evaluate {quote(run)}` again")


def describe_better_existing(path: Path, result: dict[str, Any]) -> str:
    """Describe the result in a file if it is of the same model and has more than a new one; else return ""."""
    try:
        found = json.loads(path.read_bytes())
        same, num, counts = _agree(found, result, MODEL), int(found["num"]), set(found["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    more = num > result["num"] or (num == result["num"] and counts > set(result["steps"]))
    return f"{num:,} samples at {len(counts)} numbers of steps" if more and same else ""


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


def table(result: dict[str, Any]) -> str:
    """Return the result of `evaluate` as a table, with a row for each number of steps."""
    rows = result["steps"]
    names = list(next(iter(rows.values())))
    cells = [[steps, *(f"{row[name]:.4g}" for name in names)] for steps, row in rows.items()]
    return format_table([["steps", *names], *cells])
