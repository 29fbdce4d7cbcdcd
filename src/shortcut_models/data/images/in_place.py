"""Images that stay where they are: each is read and decoded when its row is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from ...base import Batch
from ...errors import UserError
from ...system.hashing import hash_bytes
from .decode import ColourFound, Damaged, Target, pixels_of
from .examples import Examples, encoded
from .order import windowed

NEIGHBOURS = 100
"""images that are tried in place of a damaged one"""


@dataclass(frozen=True)
class InPlaceSet:
    """The images of a split, all made to one shape when they are read.

    Where `skip_damaged` is set, the next image that can be read takes the place of a damaged one, with its label: so
    the rows, and with them the order of training, stay what they are.
    """

    examples: Examples
    target: Target
    skip_damaged: bool
    damaged: set[str] = field(default_factory=set)
    """names of the images that another one took the place of, as far as they have been asked for"""
    skipped: ClassVar[int] = 0

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.target.channels, self.target.size, self.target.size)

    @property
    def labels(self) -> Int64[np.ndarray, "n"] | None:
        return self.examples.labels

    @property
    def classes(self) -> int:
        return self.examples.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.examples.class_names

    @property
    def sha256(self) -> str:
        """The fingerprint of names and labels: to read all pixels would take as long as a pass over the data."""
        return hash_bytes(*map(encoded, self.examples.names), self.labels)

    def read(
        self, rows: Sequence[int] | np.ndarray
    ) -> tuple[UInt8[np.ndarray, "m c s s"], Int64[np.ndarray, "m"] | None]:
        """Return the pixels of some rows, and their labels if any. Raise UserError naming what cannot be read."""
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
                return pixels_of(self.examples, found, self.target), found
            except ColourFound:
                raise UserError(
                    f"{self.examples.where(found)} is in colour, but the images before it are grey: "
                    f"pass --task.channels 3, or 1 to make all grey"
                ) from None
            except Damaged as error:
                if not self.skip_damaged:
                    raise UserError(str(error)) from None
                self.note_damaged(self.examples.where(found))
        raise UserError(
            f"{NEIGHBOURS} images in a row, from {self.examples.where(row)} on, cannot be read: check the files"
        )

    def note_damaged(self, name: str) -> None:
        """Count a damaged image, and warn of the first, but not in a process that reads for another."""
        if not self.damaged and get_worker_info() is None:
            warnings.warn(
                f"{name} cannot be read: the next image takes its place; others are counted, "
                f"as `damaged` in metrics.jsonl",
                stacklevel=2,
            )
        self.damaged.add(name)


class InPlaceDataset(Dataset[Batch]):
    """The same as the trainer reads it: uint8 [b, C, H, W] and, where `labelled`, the condition "label" [b]."""

    def __init__(self, images: InPlaceSet, *, labelled: bool) -> None:
        self.images, self.labelled = images, labelled

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        pixels, labels = self.images.read(indices)
        cond = {"label": torch.from_numpy(labels)} if self.labelled and labels is not None else {}
        return Batch(torch.from_numpy(pixels), cond)

    @property
    def damaged(self) -> set[str]:
        return self.images.damaged

    def note_damaged(self, name: str) -> None:
        self.images.note_damaged(name)

    def order(self, source: torch.Generator) -> Int64[Tensor, "n"]:
        """Return all rows once, shuffled; those of shards in windows of several shards."""
        shards = self.images.examples.blocks
        return torch.randperm(len(self), generator=source) if shards is None else windowed(shards, source)
