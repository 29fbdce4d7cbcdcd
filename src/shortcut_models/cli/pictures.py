"""The commands that draw: `shortcut interpolate`, `plot`, `animate` and `report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
from tyro.conf import Positional

from ..config import NonNegativeInt, PositiveInt
from .parser import Command
from .shared import OfModel, Runs, check_out, labels_of


@dataclass(frozen=True, kw_only=True)
class Interpolate(OfModel):
    out: Path
    """file of the picture, .png"""
    steps: int = 1
    """number of sampling steps, 1 to the model's largest"""
    pairs: PositiveInt = 8
    """number of pairs, a row each"""
    points: Annotated[int, at.Ge(2)] = 9
    """number of points between a pair, a column each"""
    label: Sequence[str] | None = None
    """classes of the rows in turn, each by name or number (default: all)"""
    seed: NonNegativeInt = 0
    """seed of the noises"""

    def __call__(self) -> None:
        from ..drawing.png import save_png
        from ..reports.interpolation import interpolate

        check_out(self.out, ".png")
        model = self.generator()
        label = labels_of(self.label, self.pairs, model)
        save_png(self.out, interpolate(model, self.steps, self.pairs, self.seed, self.points, label))
        print(self.out)


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


@dataclass(frozen=True, kw_only=True)
class Animate(Command):
    run: Positional[Path]
    """run directory"""
    out: Path
    """file of the rainbow, .gif; FILE-flow.gif is written beside it"""

    def __call__(self) -> None:
        from ..reports.animation import animate

        check_out(self.out, ".gif")
        for path in animate(self.run, self.out):
            print(path)


@dataclass(frozen=True, kw_only=True)
class Report(OfModel):
    out: Path | None = None
    """file of the report, .html (default: RUN/report.html)"""

    def __call__(self) -> None:
        from ..reports.report import write_report

        check_out(self.out, ".html")
        print(write_report(self.run, self.model(), self.out))
