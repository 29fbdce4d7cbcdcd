"""The images of a split: from memory, from the cache on disk, or decoded now."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...errors import UserError
from . import cache
from .arrays import read_idx, read_npz
from .cache import ImageSet
from .decode import ColourFound, Target, decide, decode
from .encoded import list_folder, open_shards
from .examples import Examples
from .layout import IMAGE_SUFFIXES, Part, find_parts

VERSION = 1
"""of the way from files to pixels; a change makes every cached set anew"""


class Request(NamedTuple):
    """What is asked for; None leaves it to the data."""

    data: str
    split: str
    image_size: int | None
    channels: int | None
    skip_damaged: bool


_LOADED: dict[Request, ImageSet] = {}


def load(data: str, split: str, image_size: int | None, channels: int | None, skip_damaged: bool) -> ImageSet:
    """The images of split "train" or "test", kept for the life of the process.

    Where the data has no test part, a tenth of it (at most 5,000, at least one) is held out, by a hash of the names.
    Sets of 1 GiB and more are mapped from a file in the cache folder. Raises UserError for whatever is wrong with
    the data, and warns of a cache that cannot be written.
    """
    request = Request(data, split, image_size, channels, skip_damaged)
    if request not in _LOADED:
        try:
            found = _load(request)
        except OSError as error:
            raise UserError(f"cannot read {error.filename or data}: {error.strerror or error}") from None
        _, channels, image_size, _ = found.pixels.shape
        _LOADED[request] = _LOADED[request._replace(image_size=image_size, channels=channels)] = found
    return _LOADED[request]


def _load(request: Request) -> ImageSet:
    parts = find_parts(request.data)
    part, hold_out = parts.get(request.split, parts["train"]), "test" not in parts
    key = _key(part, request, hold_out)
    found = cache.read(key)
    if found is not None:
        return found
    with _examples(part) as whole:
        need = 2 if hold_out else 1
        if len(whole) < need:
            raise UserError(f"{request.data} holds {len(whole)} images for {request.split}: at least {need} are needed")
        examples = whole.split(request.split, hold_out=hold_out)
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
    facts = [VERSION, part.kind, str(part.root), part.inner, hold_out, *request[1:], files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _examples(part: Part) -> Iterator[Examples]:
    if part.kind == "tar":
        with open_shards(part.root, part.files, IMAGE_SUFFIXES) as examples:
            yield examples
    elif part.kind == "folder":
        yield list_folder(part.root, part.files)
    elif part.kind == "npz":
        yield read_npz(part.files[0], part.inner)
    else:
        yield read_idx(part.files[0], part.files[1] if len(part.files) > 1 else None)


def _decode(examples: Examples, target: Target, part: Part, request: Request, hold_out: bool) -> ImageSet:
    """Decode into the cache, or where that cannot be written into memory."""
    image_shape = (target.channels, target.size, target.size)
    asked = _key(part, request, hold_out)
    exact = _key(part, request._replace(image_size=target.size, channels=target.channels), hold_out)
    try:
        with cache.writing(f"{exact}.uint8") as file:
            kept = decode(examples, target, request.skip_damaged, lambda pixels: file.write(pixels.data))
        found = _set(examples, kept, cache.read_pixels(f"{exact}.uint8", (len(kept), *image_shape)))
        cache.describe(f"{exact}.uint8", {asked, exact}, found)
        return found
    except OSError as error:
        trouble = f"cannot write the image cache {cache.cache_folder()}: {error.strerror or error}"
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
