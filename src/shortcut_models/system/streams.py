"""Standard streams that are missing, that lose their reader, or whose encoding lacks a character."""

import contextlib
import os
import sys
from typing import Any

NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}  # of the descriptors


def complete_streams() -> None:
    """Open /dev/null in place of streams that are closed, and let streams escape what their encoding lacks."""
    for name, number in NUMBERS.items():
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            _open_null(number)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _open_null(number: int) -> None:
    """Open /dev/null under a number, unless that is open: the next file to be opened would get the number."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)


def silence(stream: Any) -> None:
    """Send what a stream still holds, and all that follows, to /dev/null, as its reader is gone."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a descriptor
        number, null = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


class _Stderr:
    """The stderr of the moment. Work does not end where it is missing, or takes no more: a pipe without a reader."""

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, method: str, *arguments: str) -> None:
        try:
            getattr(sys.stderr, method, lambda *_: None)(*arguments)
        except (OSError, ValueError):
            silence(sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


STDERR: Any = _Stderr()
