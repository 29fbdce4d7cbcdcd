"""What torchrun tells the processes that it starts; and without it, that there is one."""

from __future__ import annotations

import datetime
import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command that needs no tensors should not wait for torch
    from torch.distributed import Store

TIME_LIMIT = datetime.timedelta(minutes=30)
"""how long processes that train wait for one another before they give up"""
DAY = datetime.timedelta(days=1)
"""the same where one may have much more left to do than the others: where they share work without a word between, and
where data is downloaded, listed or decoded"""


def is_distributed() -> bool:
    """Whether torchrun has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@functools.cache
def rendezvous_store() -> tuple[Store, int, int]:
    """The store that torchrun's processes meet at, the rank of this one, and how many there are."""
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://", timeout=TIME_LIMIT))


def once_per_job(text: str) -> bool:
    """Whether no other process has said this yet; always, where there is only one."""
    if not is_distributed():
        return True
    try:
        return rendezvous_store()[0].add(f"said/{text}", 1) == 1
    except (RuntimeError, ValueError):  # nobody to ask: better twice than never
        return True
