"""Numbers and names as people read them."""

from __future__ import annotations

import math
from typing import Any

SHOWN_AT_MOST = 12
"""entries of a field that holds a list"""


def counted(steps: int) -> str:
    """1 step, 2 steps."""
    return f"{steps:,} step" if steps == 1 else f"{steps:,} steps"


def plain(name: str) -> str:
    """A name from the code, for the reader."""
    return name.replace("_", " ")


def shown(value: Any) -> str:
    """A field of a configuration; of a long one the beginning."""
    if not isinstance(value, list):
        return str(value)
    return ", ".join([*map(str, value[:SHOWN_AT_MOST]), *(["..."] if len(value) > SHOWN_AT_MOST else [])])


def figure(value: float | None) -> str:
    """A number in four digits."""
    return "–" if value is None or not math.isfinite(value) else f"{value:#.4g}".rstrip(".")


def large(count: int) -> str:
    """1234567 -> 1.23 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def duration(seconds: float) -> str:
    """3725 -> 1 h 2 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def time_of(seconds: float) -> str:
    """A short time in the unit that fits: 0.00012 -> 0.12 ms."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
