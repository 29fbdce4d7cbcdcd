"""The images of a split: from memory, from the cache on disk, decoded now, or left where they are."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ...errors import UserError
from ...system.files import cache_folder, writing
from . import cache
from .cache import ImageSet, cache_key, cannot_write
from .decode import ColourFound, Target, decide, decode, probe
from .examples import Examples, ImageFiles, read_folder
from .hugging_face import read_table
from .in_place import InPlaceSet
from .layout import find_splits
from .npz_idx import read_idx, read_npz
from .shards import is_compressed, read_shards, unpacked

VERSION = 1
"""of the way from files to pixels; a change makes every cached set anew"""
LARGE = 2**33
"""bytes of pixels from which on a set is left where it is, unless told otherwise"""
Reading = Literal["auto", "memory", "in-place"]


class Request(NamedTuple):
    """What is asked for; None leaves it to the data."""

    data: str
    split: str
    image_size: int | None
    channels: int | None
    skip_damaged: bool
    reading: Reading


_LOADED: dict[Request, ImageSet | InPlaceSet] = {}


def load(
    data: str,
    split: str,
    image_size: int | None,
    channels: int | None,
    skip_damaged: bool,
    reading: Reading = "auto",
) -> ImageSet | InPlaceSet:
    """The images of split "train" or "test", kept for the life of the process.

    Where the data has no test part, a tenth of it (at most 5,000, at least one) is held out, by a hash of the names.
    Sets are decoded into an array: from 1 GiB on it is mapped from a file in the cache folder, and from 8 GiB on none
    is made, but images are read in place; `reading` decides otherwise. Raises UserError for whatever is wrong with
    the data, and warns of a cache that cannot be written.
    """
    request = Request(data, split, image_size, channels, skip_damaged, reading)
    if request not in _LOADED:
        try:
            found = _load(request)
        except OSError as error:
            raise UserError(f"cannot read {error.filename or data}: {error.strerror or error}") from None
        channels, image_size, _ = found.shape
        _LOADED[request] = _LOADED[request._replace(image_size=image_size, channels=channels)] = found
    return _LOADED[request]


def _load(request: Request) -> ImageSet | InPlaceSet:
    parts = find_splits(request.data)
    part, hold_out = parts.get(request.split, parts["train"]), "test" not in parts
    in_place = None if request.reading == "memory" else _in_place(part, request, hold_out)
    return in_place or _in_memory(part, request, hold_out)


def _in_place(part: ImageFiles, request: Request, hold_out: bool) -> InPlaceSet | None:
    """The images where they are, or None where they are to be decoded into an array."""
    forced = request.reading == "in-place"
    if part.kind in ("npz", "idx") or (part.kind == "tar" and any(map(is_compressed, part.files))):
        if forced:
            what = "compressed shards: unpack them" if part.kind == "tar" else "arrays: leave --task.reading out"
            raise UserError(f"{request.data} cannot be read in place, as it holds {what}")
        return None
    examples = _split(_list(part, part.files), request, hold_out)
    target = decide(examples, request.image_size, request.channels, request.skip_damaged)
    if not forced and len(examples) * target.channels * target.size**2 < LARGE:
        return None
    return InPlaceSet(**vars(examples), target=probe(examples, target))


def _split(whole: Examples, request: Request, hold_out: bool) -> Examples:
    need = 2 if hold_out else 1
    if len(whole) < need:
        raise UserError(f"{request.data} holds {len(whole)} images for {request.split}: at least {need} are needed")
    return whole.split(request.split, hold_out=hold_out)


def _in_memory(part: ImageFiles, request: Request, hold_out: bool) -> ImageSet:
    """The images as an array, from the cache or decoded now."""
    key = _key(part, request, hold_out)
    found = cache.read(key)
    if found is not None:
        return found
    with _examples(part) as whole:
        examples = _split(whole, request, hold_out)
        target = decide(examples, request.image_size, request.channels, request.skip_damaged)
        try:
            return _decode(examples, target, part, request, hold_out)
        except ColourFound:
            return _decode(examples, target.in_colour(), part, request, hold_out)


def _key(part: ImageFiles, request: Request, hold_out: bool) -> str:
    """A name for what a request will give, as long as no file changes."""
    stats = [(str(path), path.stat()) for path in part.files]
    files = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    facts = [VERSION, part.kind, str(part.root), part.inner, hold_out, *request[1:-1], files]
    return cache_key(facts)


@contextlib.contextmanager
def _examples(part: ImageFiles) -> Iterator[Examples]:
    with unpacked(part.files) if part.kind == "tar" else contextlib.nullcontext(part.files) as plain:
        yield _list(part, plain)


def _list(part: ImageFiles, plain: tuple[Path, ...]) -> Examples:
    """All images of a part; plain: its files, of which compressed shards have been unpacked."""
    if part.kind == "tar":
        return read_shards(part, plain)
    readers = {"folder": read_folder, "npz": read_npz, "idx": read_idx, "table": read_table, "parquet": read_table}
    return readers[part.kind](part)


def _decode(examples: Examples, target: Target, part: ImageFiles, request: Request, hold_out: bool) -> ImageSet:
    """Decode into the cache, or where that cannot be written into memory."""
    asked = _key(part, request, hold_out)
    exact = _key(part, request._replace(image_size=target.size, channels=target.channels), hold_out)
    try:
        with writing(cache_folder() / f"{exact}.uint8") as file:
            kept = decode(examples, target, lambda pixels: file.write(pixels.data))
        found = _set(examples, kept, cache.read_pixels(f"{exact}.uint8", (len(kept), *target.shape)))
        cache.describe(f"{exact}.uint8", {asked, exact}, found)
        return found
    except OSError as error:
        trouble = cannot_write(error)
        if len(examples) * math.prod(target.shape) >= cache.IN_MEMORY:
            raise UserError(f"{trouble}; set XDG_CACHE_HOME to a folder with room") from None
        warnings.warn(f"{trouble}; images are decoded at every start", stacklevel=2)
    chunks: list[np.ndarray] = []
    kept = decode(examples, target, chunks.append)
    return _set(examples, kept, np.concatenate(chunks))


def _set(examples: Examples, kept: list[int], pixels: np.ndarray) -> ImageSet:
    labels = None if examples.labels is None else examples.labels[kept]
    skipped = len(examples) - len(kept)
    return ImageSet(pixels, labels, examples.classes, examples.class_names, skipped)
