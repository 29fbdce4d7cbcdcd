"""The command `shortcut report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .shared import OfModel, check_out


@dataclass(frozen=True, kw_only=True)
class Report(OfModel):
    out: Path | None = None
    """file of the report, .html (default: RUN/report.html)"""

    def __call__(self) -> None:
        from ..reports.report import write_report

        if self.out is not None:
            check_out(self.out, ".html")
        print(write_report(self.run, self.model(), self.out))
