"""What torchrun sets in the environment of the processes that it starts, if it started this one."""

import datetime
import functools
import os
from typing import Any

TIME_LIMIT = datetime.timedelta(minutes=30)  # how long processes that train wait for one another
DAY = datetime.timedelta(days=1)
"""the same if one process may have much more to do than the others, as when data is downloaded or decoded"""


def is_distributed() -> bool:
    """Return whether torchrun has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@functools.cache
def rendezvous_store() -> tuple[Any, int, int]:
    """Return the store that torchrun's processes share, the rank of this one, and their number."""
    from torch.distributed.rendezvous import rendezvous  # here, as a command without tensors should start fast

    return next(rendezvous("env://", timeout=TIME_LIMIT))


def once_per_job(text: str) -> bool:
    """Return whether this process is the first to print a text; True for a single process."""
    if not is_distributed():
        return True
    try:
        return rendezvous_store()[0].add(f"said/{text}", 1) == 1
    except (RuntimeError, ValueError):  # without a store: twice is better than never
        return True
