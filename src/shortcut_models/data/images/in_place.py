"""Images that stay in their files: each is read and decoded when its row is asked for."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import get_worker_info

from ...base import Batch
from ...data.arrays import BatchDataset
from ...errors import UserError
from ...system.hashing import hash_bytes
from .cache import Rows
from .decode import ColourFound, Damaged, Target, pixels_of
from .examples import Examples, encoded

NEIGHBOURS = 100  # images that are tried in place of a damaged one
WINDOW_SHARDS, WINDOW_IMAGES = 16, 16_384  # shards and images that are mixed with one another, at least


@dataclass(frozen=True, kw_only=True)
class InPlaceSet(Examples, BatchDataset):
    """The images of a split, read when they are asked for; the next one takes the place of a damaged one."""

    target: Target
    damaged: set[str] = field(default_factory=set)  # names of the images that another one took the place of
    skipped: ClassVar[int] = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.target.shape

    @property
    def sha256(self) -> str:
        """The fingerprint of names and labels: to read all pixels would take as long as a pass over the data."""
        return hash_bytes(*map(encoded, self.names), self.labels)

    def read(self, rows: Sequence[int] | np.ndarray) -> Rows:
        pixels, taken = np.empty((len(rows), *self.shape), np.uint8), []
        for place, row in enumerate(rows):
            pixels[place], found = self._one(int(row))
            taken.append(found)
        return pixels, None if self.labels is None else self.labels[taken]

    def _one(self, row: int) -> tuple[np.ndarray, int]:
        """Return the pixels of a row, or of the next one that can be read, and which one that was."""
        for other in range(row, row + NEIGHBOURS):
            found = other % len(self)
            try:
                return pixels_of(self, found, self.target), found
            except ColourFound:
                raise UserError(
                    f"{self.where(found)} is in colour, but the images before it are grey: "
                    f"pass --task.channels 3, or 1 to make all grey"
                ) from None
            except Damaged:
                self.note_damaged(self.where(found))
        raise UserError(f"{NEIGHBOURS} images in a row, from {self.where(row)} on, cannot be read: check the files")

    def note_damaged(self, name: str) -> None:
        """Count a damaged image, and warn of the first, but not in a process that reads for another."""
        if not self.damaged and get_worker_info() is None:
            warnings.warn(
                f"{name} cannot be read: the next image takes its place; others are counted, "
                f"as `damaged` in metrics.jsonl",
                stacklevel=2,
            )
        self.damaged.add(name)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return rows as the trainer reads them: uint8 [b, C, H, W] and, where there are labels, "label" [b]."""
        pixels, labels = self.read(indices)
        return Batch(torch.from_numpy(pixels), {} if labels is None else {"label": torch.from_numpy(labels)})

    def order(self, source: torch.Generator) -> Int64[Tensor, "n"]:
        """Return all rows once, shuffled; those of shards in windows of several shards."""
        return torch.randperm(len(self), generator=source) if self.blocks is None else windowed(self.blocks, source)


def windowed(shards: Int64[np.ndarray, "n"], source: torch.Generator) -> Int64[Tensor, "n"]:
    """Return all rows once: shards, given for each row, in windows of random ones, whose rows are shuffled."""
    _, counts = np.unique(shards, return_counts=True)
    pieces = torch.from_numpy(np.argsort(shards, kind="stable")).split(counts.tolist())
    turns = torch.randperm(len(pieces), generator=source).tolist()
    order = []
    for window in _windows([len(pieces[turn]) for turn in turns]):
        mixed = torch.cat([pieces[turns[i]] for i in window])
        order.append(mixed[torch.randperm(len(mixed), generator=source)])
    return torch.cat(order)


def _windows(sizes: list[int]) -> list[range]:
    """Cut shards in turn where a window is large enough and the rest is too."""
    found, begin, held, left = [], 0, 0, sum(sizes)
    for end, size in enumerate(sizes, 1):
        held, left = held + size, left - size
        enough = end - begin >= WINDOW_SHARDS and held >= WINDOW_IMAGES
        if enough and len(sizes) - end >= WINDOW_SHARDS and left >= WINDOW_IMAGES:
            found.append(range(begin, end))
            begin, held = end, 0
    return [*found, range(begin, len(sizes))]
