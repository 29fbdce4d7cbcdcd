"""The one exception that means: the input is at fault, and the message says how to mend it."""


class UserError(ValueError):
    """Something the caller can put right. The message is one line: what is wrong, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
