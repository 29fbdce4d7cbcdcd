"""The images of a split: from memory, from the cache on disk, decoded now, or left where they are."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ...errors import UserError
from ...system.files import cache_folder, file_stamp, writing
from . import cache
from .cache import ImageSet, cache_key, cannot_write
from .decode import ColourFound, Target, decide, decode, first_side, probe
from .examples import Examples, ImageFiles
from .folders import read_folder
from .hugging_face import read_table
from .in_place import InPlaceSet
from .layout import find_splits
from .notes import Notes
from .npz_idx import read_idx, read_npz
from .shards import is_compressed, read_shards, unpacked

VERSION = 3  # of the way from files to pixels; a change invalidates all cached sets
LARGE = 2**33  # bytes of pixels from which on a set is left where it is, unless `reading` says otherwise
Reading = Literal["auto", "memory", "in-place"]
READERS = {"folder": read_folder, "tar": read_shards, "npz": read_npz, "idx": read_idx}
READERS |= {"table": read_table, "parquet": read_table}


@dataclass(frozen=True)
class ImageSource:
    """The images at a path, each split read once, when it is first asked for; see the task `Images`."""

    data: str
    image_size: int | None = None
    channels: int | None = None
    skip_damaged: bool = False
    reading: Reading = "auto"
    _lists: dict[str, Examples] = field(default_factory=dict, init=False, compare=False)

    @functools.cached_property
    def train(self) -> ImageSet | InPlaceSet:
        return self._read("train", self.image_size, self.channels)

    @functools.cached_property
    def test(self) -> ImageSet | InPlaceSet:
        """The images that are held out, of the same shape as those to train on."""
        size, channels = self.image_size, self.channels
        if size is None or channels is None:
            channels, size, _ = self.train.shape
        found = self._read("test", size, channels)
        self._lists.clear()
        return found

    @property
    def notes(self) -> Notes:
        """What is said of the files of both parts and of what they hold."""
        found = sum((part.notes for part in self._parts.values()), self.train.notes)
        return found + self.test.notes if "test" in self._parts else found

    def first_side(self) -> int:
        """Return the shorter side of the first image for training that can be read."""
        try:
            with self._listed("train") as examples:
                return first_side(examples, self.skip_damaged)
        except OSError as error:
            raise UserError(f"cannot read {error.filename or self.data}: {error.strerror or error}") from None

    @functools.cached_property
    def _parts(self) -> dict[str, ImageFiles]:
        return find_splits(self.data)

    @functools.cached_property
    def _compressed(self) -> dict[str, bool]:
        return {name: part.kind == "tar" and any(map(is_compressed, part.files)) for name, part in self._parts.items()}

    def _read(self, split: str, image_size: int | None, channels: int | None) -> ImageSet | InPlaceSet:
        try:
            name = split if split in self._parts else "train"
            part, hold_out = self._parts[name], "test" not in self._parts
            may_stay = self._may_stay(name)
            key = lambda *shape: _key(part, hold_out, split, *shape, self.skip_damaged)
            cached = None if self.reading == "in-place" else cache.read(key(image_size, channels))
            if cached is not None and not may_stay:
                return cached
            with self._listed(name) as whole:
                if len(whole) < (need := 2 if hold_out else 1):
                    raise UserError(f"{self.data} holds {len(whole)} images for {split}: at least {need} are needed")
                examples = whole.split(split, hold_out=hold_out)
                target = decide(examples, image_size, channels, self.skip_damaged)
                if may_stay and (self.reading == "in-place" or len(examples) * target.nbytes >= LARGE):
                    return InPlaceSet(**vars(examples), target=probe(examples, target))
                if cached is not None:
                    return cached
                asked = key(image_size, channels)
                try:
                    return _decode(examples, target, asked, key)
                except ColourFound:
                    return _decode(examples, target.in_colour(), asked, key)
        except OSError as error:
            raise UserError(f"cannot read {error.filename or self.data}: {error.strerror or error}") from None

    def _may_stay(self, name: str) -> bool:
        """Return whether images of a part's format can be read in place, and `reading` allows it."""
        if self._parts[name].kind not in ("npz", "idx") and not self._compressed[name]:
            return self.reading != "memory"
        if self.reading == "in-place":
            what = "compressed shards: unpack them" if self._compressed[name] else "arrays: leave --task.reading out"
            raise UserError(f"{self.data} cannot be read in place, as it holds {what}")
        return False

    @contextlib.contextmanager
    def _listed(self, name: str) -> Iterator[Examples]:
        """All images of a part; those of compressed shards can be opened for as long as this is open."""
        part = self._parts[name]
        if self._compressed[name]:
            with unpacked(part.files) as plain:
                yield read_shards(part, plain)
            return
        if name not in self._lists:
            self._lists[name] = READERS[part.kind](part)
        yield self._lists[name]


def _key(part: ImageFiles, hold_out: bool, *request: str | int | None) -> str:
    files = [(str(path), *file_stamp(path)) for path in (*part.files, *part.label_files)]
    return cache_key([VERSION, part.kind, str(part.root), part.inner, hold_out, *request, files])


def _decode(examples: Examples, target: Target, asked: str, key: Callable[[int, int], str]) -> ImageSet:
    """Decode the images into the cache; where that cannot be written, into memory."""
    exact = key(target.size, target.channels)
    try:
        with writing(cache_folder() / f"{exact}.uint8") as file:
            kept = decode(examples, target, lambda pixels: file.write(pixels.data))
        found = _set(examples, kept, cache.read_pixels(f"{exact}.uint8", (len(kept), *target.shape)))
        cache.describe(f"{exact}.uint8", {asked, exact}, found)
        return found
    except OSError as error:
        trouble = cannot_write(error)
        if len(examples) * target.nbytes >= cache.IN_MEMORY:
            raise UserError(f"{trouble}; set XDG_CACHE_HOME to a folder with room") from None
        warnings.warn(f"{trouble}; images are decoded at every start", stacklevel=2)
    chunks: list[np.ndarray] = []
    kept = decode(examples, target, chunks.append)
    return _set(examples, kept, np.concatenate(chunks))


def _set(examples: Examples, kept: list[int], pixels: np.ndarray) -> ImageSet:
    labels = None if examples.labels is None else examples.labels[kept]
    skipped = len(examples) - len(kept)
    return ImageSet(pixels, labels, examples.classes, examples.class_names, skipped, examples.notes)
