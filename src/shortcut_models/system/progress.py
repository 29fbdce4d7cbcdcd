"""Progress bars."""

import sys
from typing import Any

from tqdm import tqdm

LIVE, LOGGED = 0.2, 15.0  # seconds between two updates in a terminal, and in a file


def progress(total: int | None, unit: str, *, quiet: bool = False, **options: Any) -> tqdm:
    """Return a bar of tqdm, with its options, that is live in a terminal, and writes a line now and then to a file."""
    interval = LIVE if sys.stderr.isatty() else LOGGED
    return tqdm(total=total, unit=unit, **{"disable": quiet, "mininterval": interval, "dynamic_ncols": True, **options})
