"""Progress bars, and lines printed beside them."""

import sys
from typing import Any

from tqdm import tqdm

from .streams import STDERR, silence

LIVE, LOGGED = 0.2, 15.0  # seconds between two updates in a terminal, and in a file


def progress(total: int | None, unit: str, *, quiet: bool = False, **options: Any) -> tqdm:
    """Return a bar of tqdm, with its options, that is live in a terminal, and writes a line now and then to a file."""
    interval = LIVE if is_terminal() else LOGGED
    usual = {"disable": quiet, "mininterval": interval, "dynamic_ncols": True, "file": STDERR}
    return tqdm(total=total, unit=unit, **{**usual, **options})


def is_terminal() -> bool:
    """Return whether stderr is a terminal."""
    try:
        return bool(STDERR.isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def say(text: str) -> None:
    """Print a line on stderr; above a progress bar, where there is one."""
    tqdm.write(text, file=STDERR)


def print_beside_bar(text: str) -> None:
    """Print a line of a result on stdout at once; above a progress bar, where there is one.

    Work continues where its reader is gone, `head` for one: the result has yet to be saved.
    """
    try:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
