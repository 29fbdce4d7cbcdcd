"""Long work: bars that show how far it is, and a request to stop it between two steps."""

import contextlib
import signal
import sys
import threading
from typing import Any

from tqdm import tqdm

LIVE, LOGGED = 0.2, 15.0  # seconds between two updates in a terminal, and in a file


def progress(total: int | None, unit: str, *, quiet: bool = False, **options: Any) -> tqdm:
    """Return a bar of tqdm, with its options, that is live in a terminal, and writes a line now and then to a file."""
    interval = LIVE if sys.stderr.isatty() else LOGGED
    return tqdm(total=total, unit=unit, **{"disable": quiet, "mininterval": interval, "dynamic_ncols": True, **options})


def say(text: str) -> None:
    """Print a line on stderr; above a progress bar, where there is one."""
    tqdm.write(text, file=sys.stderr)


def print_beside_bar(text: str) -> None:
    """Print a line of a result on stdout at once; above a progress bar, where there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


class StopRequest(contextlib.AbstractContextManager["StopRequest"]):
    """Turn the first SIGINT or SIGTERM into a request to save and stop; the second one acts as usual."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._earlier[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: Any) -> None:
        self.signal_number = number
        self.__exit__()

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}
