"""The command `shortcut interpolate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import annotated_types as at

from ..config import NonNegativeInt, PositiveInt
from .shared import OfModel, check_out


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
    label: int | None = None
    """class of all rows (default: one a row, in turn)"""
    seed: NonNegativeInt = 0
    """seed of the noises"""

    def __call__(self) -> None:
        from ..drawing.png import save_png
        from ..reports.interpolation import interpolate

        check_out(self.out, ".png")
        save_png(self.out, interpolate(self.generator(), self.steps, self.pairs, self.seed, self.points, self.label))
        print(self.out)
