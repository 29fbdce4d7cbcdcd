"""Images that have not been decoded yet: what the reader of every format turns `ImageFiles` into."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64
from PIL import Image

from .notes import Notes

Kind = Literal["folder", "tar", "npz", "idx", "table", "parquet"]
MAX_HELD_OUT = 5_000  # images held out, at most, where the data has no test part of its own


@dataclass(frozen=True)
class ImageFiles:
    """Files of one format that are read together."""

    kind: Kind
    root: Path  # the folder that names start from, or the name of a table
    files: tuple[Path, ...]  # all that is read, sorted; of idx files: the images, then the labels if there are any
    inner: str = ""  # the split, where an .npz file or a table of Hugging Face holds several; its folder in tar shards
    label_files: tuple[Path, ...] = ()  # of labels beside images in a folder
    notes: Notes = field(default_factory=Notes)


def encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def count_classes(labels: Int64[np.ndarray, "n"] | None) -> int:
    """Return the number of classes 0, 1, 2, ... up to the largest label; 0 without labels."""
    return 0 if labels is None else int(labels.max(initial=-1)) + 1


def _open_chosen(opened: Callable[[int], Image.Image], rows: Int64[np.ndarray, "m"], index: int) -> Image.Image:
    return opened(int(rows[index]))


@dataclass(frozen=True)
class Examples:
    """Images by number. Many threads, and processes that got a copy, may call `open`."""

    root: Path  # the folder that the names start from
    names: Sequence[str]  # one for each image, unique, and the same wherever the data is
    open: Callable[[int], Image.Image]  # number -> image; raises what Pillow raises for a damaged one
    labels: Int64[np.ndarray, "n"] | None = None
    classes: int = 0  # number of classes; 0 without labels
    class_names: tuple[str, ...] = ()  # names of the classes where the data has any
    blocks: Int64[np.ndarray, "n"] | None = None
    """number of the shard that holds each image, where images of a shard are best read together"""
    notes: Notes = field(default_factory=Notes)

    def __len__(self) -> int:
        return len(self.names)

    def where(self, index: int) -> str:
        return str(self.root / self.names[index])

    def subset(self, rows: Sequence[int]) -> "Examples":
        chosen = np.array(rows, np.int64)
        return dataclasses.replace(
            self,
            names=[self.names[row] for row in rows],
            open=functools.partial(_open_chosen, self.open, chosen),
            labels=None if self.labels is None else self.labels[chosen],
            blocks=None if self.blocks is None else self.blocks[chosen],
        )

    def split(self, split: str, *, hold_out: bool) -> "Examples":
        """Return the images of a split; hold_out: these are for both splits, and not for this one alone.

        The tenth with the smallest hashes of their names is held out, wherever the data is. Test images come in the
        order of the hash, so the first thousand are a fair sample even of files that are sorted by class.
        """
        hashes = [hashlib.blake2b(encoded(name), digest_size=8).digest() for name in self.names]
        order = sorted(range(len(self)), key=hashes.__getitem__)
        if not hold_out:
            return self if split == "train" else self.subset(order)
        count = min(MAX_HELD_OUT, max(1, len(self) // 10))
        return self.subset(order[:count] if split == "test" else sorted(order[count:]))
