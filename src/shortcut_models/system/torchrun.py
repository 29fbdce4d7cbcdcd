"""What torchrun sets in the environment of the processes that it starts, if it started this one."""

import datetime
import functools
import math
import os
from typing import Any

from ..errors import UserError, first_line

TIME_LIMIT = datetime.timedelta(minutes=30)  # how long processes that train wait for one another
DAY = datetime.timedelta(days=1)
"""the same if one process may have much more to do than the others, as when data is downloaded or decoded"""


def is_distributed() -> bool:
    """Return whether torchrun has started this process as one of several, as far as its environment says so."""
    try:
        return int(os.environ.get("WORLD_SIZE", "1")) > 1
    except ValueError:
        return False


def check_environment() -> None:
    """Raise UserError where the variables that torchrun sets do not make sense together."""
    world = _number("WORLD_SIZE", 1)
    if world > 1:
        if not os.environ.get("MASTER_ADDR"):
            raise UserError(f"WORLD_SIZE is {world}, and MASTER_ADDR is not set: {_ADVICE}")
        _number("MASTER_PORT", 0, 2**16)
        _number("RANK", 0, world)
        _number("LOCAL_RANK", 0, world)


_ADVICE = "start with torchrun, or unset WORLD_SIZE"


def _number(name: str, least: int, end: int | None = None) -> int:
    """Return a variable of the environment, which only RANK and the port must have, in [least, end)."""
    text = os.environ.get(name, "" if name in ("RANK", "MASTER_PORT") else str(least))
    if not text:
        raise UserError(f"WORLD_SIZE is {os.environ['WORLD_SIZE'] or 'empty'}, and {name} is not set: {_ADVICE}")
    if not (text.strip().isdecimal() and least <= int(text) < (end or math.inf)):
        upper = f" below {end}" if end else ""
        raise UserError(f"{name} must be a whole number of at least {least}{upper}, not {text}: {_ADVICE}")
    return int(text)


@functools.cache
def rendezvous_store() -> tuple[Any, int, int]:
    """Return the store that torchrun's processes share, the rank of this one, and their number."""
    from torch.distributed.rendezvous import rendezvous  # here, as a command without tensors should start fast

    check_environment()
    try:
        return next(rendezvous("env://", timeout=TIME_LIMIT))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(f"processes cannot meet at {where} ({first_line(error)}): {_ADVICE}") from None


def once_per_job(text: str) -> bool:
    """Return whether this process is the first to print a text; True for a single process."""
    # Without torchrun's own store, the first process has it, and the others would wait for that one.
    met = rendezvous_store.cache_info().currsize or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not (is_distributed() and met):
        return True
    try:
        return rendezvous_store()[0].add(f"said/{text}", 1) == 1
    except (RuntimeError, ValueError, UserError):  # without a store: twice is better than never
        return True
