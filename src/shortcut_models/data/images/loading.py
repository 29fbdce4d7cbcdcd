"""The images of a split: from memory, from the cache on disk, decoded now, or left where they are."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ...errors import UserError
from ...system.files import cache_folder, writing
from . import cache, hugging_face
from .cache import ImageSet
from .decode import ColourFound, Target, decide, decode, look_around
from .examples import Examples
from .folders import list_folder
from .in_place import InPlaceSet
from .layout import Part, find_parts
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
    parts = find_parts(request.data)
    part, hold_out = parts.get(request.split, parts["train"]), "test" not in parts
    in_place = None if request.reading == "memory" else _in_place(part, request, hold_out)
    return in_place or _in_memory(part, request, hold_out)


def _in_place(part: Part, request: Request, hold_out: bool) -> InPlaceSet | None:
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
    return InPlaceSet(examples, look_around(examples, target, request.skip_damaged), request.skip_damaged)


def _split(whole: Examples, request: Request, hold_out: bool) -> Examples:
    need = 2 if hold_out else 1
    if len(whole) < need:
        raise UserError(f"{request.data} holds {len(whole)} images for {request.split}: at least {need} are needed")
    return whole.split(request.split, hold_out=hold_out)


def _in_memory(part: Part, request: Request, hold_out: bool) -> ImageSet:
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
            target = Target(target.size, 3, target.exact)
            return _decode(examples, target, part, request, hold_out)


def _key(part: Part, request: Request, hold_out: bool) -> str:
    """A name for what a request will give, as long as no file changes."""
    stats = [(str(path), path.stat()) for path in part.files]
    files = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    facts = [VERSION, part.kind, str(part.root), part.inner, hold_out, *request[1:-1], files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _examples(part: Part) -> Iterator[Examples]:
    with unpacked(part.files) if part.kind == "tar" else contextlib.nullcontext(part.files) as plain:
        yield _list(part, plain)


def _list(part: Part, plain: tuple[Path, ...]) -> Examples:
    """All images of a part; plain: its files, of which compressed shards have been unpacked."""
    if part.kind == "tar":
        return read_shards(part.root, part.files, plain)
    if part.kind == "folder":
        return list_folder(part.root, part.files)
    if part.kind == "table":
        return hugging_face.read_table(part.root, part.inner, hugging_face.open_splits(str(part.root))[part.inner])
    if part.kind == "parquet":
        return hugging_face.read_table(part.root, part.inner, hugging_face.open_parquet(part.files))
    if part.kind == "npz":
        return read_npz(part.files[0], part.inner)
    return read_idx(part.files[0], part.files[1] if len(part.files) > 1 else None)


def _decode(examples: Examples, target: Target, part: Part, request: Request, hold_out: bool) -> ImageSet:
    """Decode into the cache, or where that cannot be written into memory."""
    image_shape = (target.channels, target.size, target.size)
    asked = _key(part, request, hold_out)
    exact = _key(part, request._replace(image_size=target.size, channels=target.channels), hold_out)
    try:
        with writing(cache_folder() / f"{exact}.uint8") as file:
            kept = decode(examples, target, request.skip_damaged, lambda pixels: file.write(pixels.data))
        found = _set(examples, kept, cache.read_pixels(f"{exact}.uint8", (len(kept), *image_shape)))
        cache.describe(f"{exact}.uint8", {asked, exact}, found)
        return found
    except OSError as error:
        trouble = f"cannot write the image cache {cache_folder()}: {error.strerror or error}"
        if len(examples) * math.prod(image_shape) >= cache.IN_MEMORY:
            raise UserError(f"{trouble}; set XDG_CACHE_HOME to a folder with room") from None
        warnings.warn(f"{trouble}; images are decoded at every start", stacklevel=2)
    chunks: list[np.ndarray] = []
    kept = decode(examples, target, request.skip_damaged, chunks.append)
    return _set(examples, kept, np.concatenate(chunks))


def _set(examples: Examples, kept: list[int], pixels: np.ndarray) -> ImageSet:
    labels = None if examples.labels is None else examples.labels[kept]
    skipped = len(examples) - len(kept)
    return ImageSet(pixels, labels, examples.classes, examples.class_names, skipped)
