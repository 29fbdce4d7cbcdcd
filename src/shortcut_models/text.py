"""Numbers, names and tables as people read them."""

import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

MAX_ENTRIES = 12  # entries of a list that are shown


def format_steps(steps: int) -> str:
    """Return "1 step", "2 steps"."""
    return f"{steps:,} step" if steps == 1 else f"{steps:,} steps"


def format_name(name: str) -> str:
    """Return a name from the code as words."""
    return name.replace("_", " ")


def quote(path: object) -> str:
    """Return a path as a shell and a command take it."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)  # an option begins with a dash


def format_value(value: Any) -> str:
    """Return a field of a configuration as text, and only the beginning of a long list."""
    if not isinstance(value, list):
        return str(value)
    return ", ".join([*map(str, value[:MAX_ENTRIES]), *(["..."] if len(value) > MAX_ENTRIES else [])])


def format_number(value: float | None) -> str:
    """Return a number in four digits, and a dash for one that is missing or not finite."""
    return "–" if value is None or not math.isfinite(value) else f"{value:#.4g}".rstrip(".")


def format_count(count: int) -> str:
    """Return a count with its unit: 1234567 -> "1.23 M"."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def format_duration(seconds: float) -> str:
    """Return a time in the units that fit: 0.00012 -> "0.12 ms", 3725 -> "1 h 2 min"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def format_table(rows: Iterable[Sequence[str]], align: Sequence[str] | None = None) -> str:
    """Return rows of cells, the head first, as aligned text; align: "left" or "right" a column, by default right."""
    from tabulate import tabulate  # here, so that a model loads sooner

    return tabulate(rows, tablefmt="plain", disable_numparse=True, stralign="right", colalign=align)
