"""A list of images that have not been decoded yet: what every format is read into."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

HELD_OUT_MOST = 5_000
"""images at most that are held out where the data has no test part of its own"""


def encoded(name: str) -> bytes:
    """Return a name as the disk has it."""
    return name.encode("utf-8", "surrogateescape")


def _open_chosen(opened: Callable[[int], Image.Image], rows: Int64[np.ndarray, "m"], index: int) -> Image.Image:
    return opened(int(rows[index]))


@dataclass(frozen=True)
class Examples:
    """Images by number; `open` may be called from many threads, and by processes that got a copy."""

    root: Path
    """the folder that the names start from"""
    names: Sequence[str]
    """one for each image, unique, and the same wherever the data is"""
    open: Callable[[int], Image.Image]
    """number -> image; raises whatever a damaged one makes Pillow raise"""
    labels: Int64[np.ndarray, "n"] | None = None
    classes: int = 0
    """number of classes, 0 where there are no labels"""
    class_names: tuple[str, ...] = ()
    """names of the classes where the data has any"""
    blocks: Int64[np.ndarray, "n"] | None = None
    """for each image the number of the shard it is in, where it is good to read those of a shard together"""

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        """Return what messages call an image."""
        return str(self.root / self.names[index])

    def subset(self, rows: Sequence[int]) -> Examples:
        """Return some of the images, in this order."""
        chosen = np.array(rows, np.int64)
        return Examples(
            self.root,
            [self.names[row] for row in rows],
            functools.partial(_open_chosen, self.open, chosen),
            None if self.labels is None else self.labels[chosen],
            self.classes,
            self.class_names,
            None if self.blocks is None else self.blocks[chosen],
        )

    def split(self, split: str, *, hold_out: bool) -> Examples:
        """Return the images of a split, out of a part that is for it alone or (hold_out) for both.

        Of one part for both, the tenth with the smallest hashes of their names is held out, HELD_OUT_MOST at most: the
        same ones wherever the data is. As that is a rank, some of them may become training images when others are
        added. Test images come in the order of the hash, so that the first thousand are a fair sample where the files
        are sorted by class.
        """
        hashes = [hashlib.blake2b(encoded(name), digest_size=8).digest() for name in self.names]
        order = sorted(range(len(self)), key=hashes.__getitem__)
        if not hold_out:
            return self if split == "train" else self.subset(order)
        count = min(HELD_OUT_MOST, max(1, len(self) // 10))
        return self.subset(order[:count] if split == "test" else sorted(order[count:]))
