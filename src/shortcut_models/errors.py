"""Errors that the command line reports in one line, without a traceback."""


class UserError(ValueError):
    """Something the caller can fix. The message is one line: what is wrong, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class Stopped(Exception):
    """Training was asked to stop and has saved. The message says at which step."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class CallbackError(RuntimeError):
    """A callback raised an error, which is the cause of this one. The run has been saved, as the message says."""


class PeerLost(RuntimeError):
    """Another process of this training has ended, or does not answer."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
