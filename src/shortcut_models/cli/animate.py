"""The command `shortcut animate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from .parser import Command
from .shared import check_out


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
