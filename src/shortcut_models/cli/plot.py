"""The command `shortcut plot`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .parser import Command
from .shared import Runs, check_out


@dataclass(frozen=True, kw_only=True)
class Plot(Command):
    runs: Runs
    """runs that have been evaluated"""
    out: Path
    """file of the picture, .png"""
    against: Literal["steps", "size"] = "steps"
    """horizontal axis; steps: a line a run; size, in parameters: a line a number of steps"""
    steps: Sequence[int] | None = None
    """only these numbers of sampling steps (default: all that were evaluated)"""
    measures: Sequence[str] | None = None
    """only these measures, such as fid (default: all that were evaluated)"""

    def __call__(self) -> None:
        from ..reports.side_by_side import plot

        check_out(self.out, ".png")
        plot(self.runs, self.out, self.against, self.steps, self.measures)
        print(self.out)
