"""What ends a command, other than a fault of ours."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any


class UserError(ValueError):
    """Something the caller can put right. The message is one line: what is wrong, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class Stopped(Exception):
    """Training was asked to stop and has saved. The message says at which step."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class PeerLost(RuntimeError):
    """Another process of this training has ended, or does not answer."""


def choose(kind: str, name: str, among: Mapping[str, Any]) -> Any:
    """An entry by its name. Raises UserError that lists the names."""
    if name in among:
        return among[name]
    close = difflib.get_close_matches(name, among, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(f"there is no {kind} {name!r}: {hint}choose one of {', '.join(among)}")
