"""Measures taken in turns, and how they are shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from shortcut_models.text import format_table

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One measure: its value in every round, and the bound that its median should keep."""

    name: str
    unit: str
    values: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most

    def entry(self) -> dict[str, Any]:
        """The measure as JSON values."""
        spread = {"median": self.median, "min": min(self.values), "max": max(self.values), "rounds": len(self.values)}
        bound = {"at_least": self.at_least, "at_most": self.at_most, "met": self.met}
        return {"unit": self.unit} | spread | {name: value for name, value in bound.items() if value is not None}

    def cells(self) -> tuple[str, ...]:
        """The measure as a line of a table."""
        bound = "" if self.met is None else f"<= {self.at_most}" if self.at_least is None else f">= {self.at_least}"
        verdict = {None: "", True: ", and is", False: ", and is NOT"}[self.met]
        values = (self.median, min(self.values), max(self.values))
        return (self.name, *(f"{value:.4g}" for value in values), self.unit, bound + verdict)


def table(rows: Sequence[Row]) -> str:
    """The measures as aligned text."""
    lines = [("measure", "median", "min", "max", "", "should be"), *(row.cells() for row in rows)]
    return format_table(lines, ["left", "right", "right", "right", "left", "left"])


@dataclass(frozen=True)
class Stopwatch:
    """Times work on a device; what takes less than `least` seconds is repeated."""

    device: torch.device
    least: float

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def once(self, work: Work, times: int = 1) -> float:
        """Seconds that the work takes, on average over `times` runs."""
        self.wait()
        begin = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - begin) / times

    def in_turns(self, works: Mapping[str, Work], rounds: int, warm: int = 3) -> dict[str, list[float]]:
        """Seconds of each work in each round, A B C, A B C, ..., after `warm` runs of each that do not count."""
        times = dict.fromkeys(works, 1)
        for name, work in works.items():
            warming = [self.once(work) for _ in range(warm)]
            times[name] = max(1, round(self.least / warming[-1])) if warming else 1
        turns = [{name: self.once(work, times[name]) for name, work in works.items()} for _ in range(rounds)]
        return {name: [turn[name] for turn in turns] for name in works}
