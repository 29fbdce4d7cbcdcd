"""An order for images in shards on a disk or a network: shuffled, and yet near one another."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

WINDOW_SHARDS, WINDOW_IMAGES = 16, 16_384
"""shards and images that are mixed with one another, at least"""


def windowed(shards: Int64[np.ndarray, "n"], source: torch.Generator) -> Int64[Tensor, "n"]:
    """Return all rows once, in an order that reads from a few shards at a time.

    The shards are shuffled and cut into windows of at least 16 shards and 16,384 images; the rows of a window are
    shuffled among themselves. So all of a window is read within as many examples as it has, and two images of one
    shard are at most a window apart. Where all fits into one window, this is a plain shuffle.

    Args:
        shards: for each row the number of the shard it is in.
        source: the order is a function of its seed.
    """
    rows = np.argsort(shards, kind="stable")
    _, counts = np.unique(shards, return_counts=True)
    pieces = torch.from_numpy(rows).split(counts.tolist())
    turns = torch.randperm(len(pieces), generator=source).tolist()
    order = []
    for window in _windows([len(pieces[turn]) for turn in turns]):
        mixed = torch.cat([pieces[turns[i]] for i in window])
        order.append(mixed[torch.randperm(len(mixed), generator=source)])
    return torch.cat(order)


def _windows(sizes: list[int]) -> list[range]:
    """Return shards in turn, cut where a window is large enough and the rest is too."""
    found, begin, held, left = [], 0, 0, sum(sizes)
    for end, size in enumerate(sizes, 1):
        held, left = held + size, left - size
        enough = end - begin >= WINDOW_SHARDS and held >= WINDOW_IMAGES
        if enough and len(sizes) - end >= WINDOW_SHARDS and left >= WINDOW_IMAGES:
            found.append(range(begin, end))
            begin, held = end, 0
    return [*found, range(begin, len(sizes))]
