"""Progress bars."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LIVE, LOGGED = 0.2, 15.0  # seconds between two updates in a terminal, and in a file


def progress(total: int | None, unit: str, *, quiet: bool = False, **options: Any) -> tqdm:
    """Return a progress bar that is live in a terminal, and writes a line now and then to a file.

    Args:
        total: units of work; None if that is not known.
        unit: what is counted, in the singular.
        quiet: write nothing.
        options: of `tqdm`, such as `initial` and `desc`; with `disable=None` only a terminal has a bar.
    """
    interval = LIVE if sys.stderr.isatty() else LOGGED
    return tqdm(total=total, unit=unit, **{"disable": quiet, "mininterval": interval, "dynamic_ncols": True, **options})
