"""Stop training between two steps."""

import contextlib
import signal
import threading
from typing import Any


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
