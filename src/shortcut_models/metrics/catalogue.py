"""What each measure of quality is called, and which way it is good."""

from __future__ import annotations

from typing import Any

LOWER_IS_BETTER = ("distance", "wasserstein", "frechet", "fid", "kid", "error")


SHARES = ("accuracy", "precision", "recall", "coverage")


HIGHER_IS_BETTER = (*SHARES, "density")


def direction(measure: str) -> str:
    """Which way a measure of quality is good, in words; nothing for a measure that we do not know."""
    if any(part in measure for part in LOWER_IS_BETTER):
        return "lower is better"
    return "higher is better" if measure in HIGHER_IS_BETTER else ""


def measures_of(evaluation: dict[str, Any]) -> list[str]:
    """The names of the measures of quality in an evaluation; `_real` ones are marks for real data, not measures."""
    names = dict.fromkeys(name for row in evaluation["steps"].values() for name in row)
    return [name for name in names if name not in ("seconds", "guidance") and not name.endswith("_real")]
