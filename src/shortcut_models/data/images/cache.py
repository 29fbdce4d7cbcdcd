"""Decoded images on disk: a file of raw bytes, and JSON that says what they are, for each way of asking for them."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from ...system.files import cache_folder, write_atomically
from ...system.hashing import hash_bytes
from .notes import Notes

IN_MEMORY = 2**30  # bytes; a larger set stays on disk and is mapped into memory

Rows = tuple[UInt8[np.ndarray, "m c s s"], Int64[np.ndarray, "m"] | None]


@dataclass(frozen=True)
class ImageSet:
    """The images of a split, all of one shape."""

    pixels: UInt8[np.ndarray, "n c s s"]
    labels: Int64[np.ndarray, "n"] | None
    classes: int  # number of classes in the data as a whole, 0 without labels
    class_names: tuple[str, ...]  # names of the classes where the data has any
    skipped: int = 0  # damaged images that were left out
    notes: Notes = field(default_factory=Notes)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.pixels.shape[1:]

    @property
    def sha256(self) -> str:
        """The fingerprint of pixels and labels."""
        return hash_bytes(self.pixels, self.labels)

    def read(self, rows: Sequence[int] | np.ndarray) -> Rows:
        """Return the pixels of some rows, and their labels if there are any."""
        chosen = np.asarray(rows)
        return self.pixels[chosen], None if self.labels is None else self.labels[chosen]


def cache_key(facts: Any) -> str:
    """Return a name for what follows from some facts."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def cannot_write(error: OSError) -> str:
    return f"cannot write the image cache {cache_folder()}: {error.strerror or error}"


def read_pixels(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a file holds, read, or mapped where it is large."""
    path, large = cache_folder() / name, math.prod(shape) >= IN_MEMORY
    return np.memmap(path, np.uint8, "c", shape=shape) if large else np.fromfile(path, np.uint8).reshape(shape)


def describe(name: str, keys: set[str], images: ImageSet) -> None:
    """Write what the file `name` holds, for each of the keys that may ask for it."""
    labels = None if images.labels is None else images.labels.tolist()
    entry = vars(images) | {"pixels": None, "labels": labels, "file": name, "shape": images.pixels.shape}
    entry["notes"] = asdict(images.notes)
    for key in keys:
        write_atomically(cache_folder() / f"{key}.json", json.dumps(entry).encode())


def read(key: str) -> ImageSet | None:
    """Return the set of a key, or None where it does not exist or is not whole."""
    try:
        entry = json.loads((cache_folder() / f"{key}.json").read_bytes())
        name, shape = entry["file"], tuple(entry["shape"])
        labels = None if entry["labels"] is None else np.array(entry["labels"], np.int64)
        whole = (cache_folder() / name).stat().st_size == math.prod(shape)
        if not whole or len(shape) != 4 or (labels is not None and labels.shape != shape[:1]):
            return None
        names, pixels = tuple(entry["class_names"]), read_pixels(name, shape)
        notes = Notes.from_json(entry["notes"])
        return ImageSet(pixels, labels, int(entry["classes"]), names, int(entry["skipped"]), notes)
    except (OSError, ValueError, KeyError, TypeError):
        return None
