"""A request to stop long work between two steps, made by a signal."""

import contextlib
import signal
import threading
from collections.abc import Iterable
from typing import Any

FIRST_ONLY = (signal.SIGINT, signal.SIGTERM)  # the second one acts as usual
OTHERS = [getattr(signal, name) for name in ("SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
"""a terminal that closes, which may say so twice, and schedulers that announce the end of a job"""


def ignore_stop_signals() -> None:
    """Leave signals to the process that started this one, which ends it."""
    for number in (*FIRST_ONLY, *OTHERS):
        signal.signal(number, signal.SIG_IGN)


class StopRequest(contextlib.AbstractContextManager["StopRequest"]):
    """Turn signals that end a process into a request to save and stop.

    Of SIGINT and SIGTERM, the second one acts as usual. The others are left alone where the program has its own
    handler for them, or ignores them, as after `nohup`.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            unused = [number for number in OTHERS if signal.getsignal(number) is signal.SIG_DFL]
            for number in (*FIRST_ONLY, *unused):
                self._earlier[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: Any) -> None:
        self.signal_number = self.signal_number or number
        self._restore(FIRST_ONLY)

    def _restore(self, numbers: Iterable[int]) -> None:
        for number in set(numbers) & set(self._earlier):
            signal.signal(number, self._earlier.pop(number))

    def __exit__(self, *exception: object) -> None:
        self._restore(list(self._earlier))
