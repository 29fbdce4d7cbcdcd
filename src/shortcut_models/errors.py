"""The one exception that means: the input is at fault, and the message says how to mend it."""


class UserError(ValueError):
    """Something the caller can put right. The message is one line: what is wrong, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class Stopped(Exception):
    """Training was asked to stop and has saved. The message says at which step."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
