"""Decoding many images at once, and saying which one is at fault."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...errors import UserError
from .examples import Examples
from .pixels import is_grey, to_pixels

P = TypeVar("P")
R = TypeVar("R")
CHUNK_IMAGES, CHUNK_BYTES = 64, 2**22
"""what a thread decodes, at most, before it hands it over"""
SHOW_PROGRESS = 2_000
"""images from which on a progress bar is worth its line"""
PROBES = 64
"""images that are looked at before a set is read in place"""


class Damaged(Exception):
    """An image cannot be read; the message names it and says what to do."""


class ColourFound(Exception):
    """An image in colour came after images that were all grey."""


@dataclass(frozen=True)
class Target:
    """What images are to become."""

    size: int
    channels: int
    exact: bool = False
    """every image must be of this size already"""
    grey_only: bool = False
    """an image in colour raises ColourFound"""


class Chunk(NamedTuple):
    """Decoded images, and the rows they come from out of those tried."""

    pixels: np.ndarray
    rows: list[int]
    tried: int


def decide(examples: Examples, image_size: int | None, channels: int | None, skip_damaged: bool) -> Target:
    """Return what images become; what is not given is taken from the first image.

    Raises:
        UserError: a size is needed, and the first image is not a square of even side; or it is damaged.
    """
    for index in range(len(examples)):
        try:
            (width, height), grey = _look(examples, index, lambda image: (image.size, is_grey(image)))
            break
        except Damaged as error:
            if not skip_damaged:
                raise UserError(str(error)) from None
    else:
        raise none_readable(examples)
    if image_size is None and (width != height or width % 2):
        raise UserError(
            f"{examples.where(index)} is {width}x{height}: pass --task.image-size, the side in pixels to train at"
        )
    return Target(
        size=image_size or width,
        channels=channels or (1 if grey else 3),
        exact=image_size is None,
        grey_only=channels is None and grey,
    )


def none_readable(examples: Examples) -> UserError:
    return UserError(f"none of the {len(examples)} images in {examples.root} can be read: check the files")


def _look(examples: Examples, index: int, look: Callable[[Image.Image], R]) -> R:
    """Return look(image); raise whatever goes wrong inside Pillow as Damaged."""
    try:
        with examples.open(index) as image:
            return look(image)
    except (UserError, ColourFound, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:  # the file system's complaint, not Pillow's
            raise UserError(f"cannot read {examples.where(index)}: {error.strerror}") from None
        reason = str(error).split(" <_io")[0]
    except Exception as error:  # decoders raise almost anything
        reason = f"{type(error).__name__}: {error}"
    raise Damaged(
        f"{examples.where(index)} cannot be read as an image ({' '.join(reason.split())}): "
        f"remove it, or pass --task.skip-damaged"
    )


def _check(examples: Examples, index: int, target: Target, image: Image.Image) -> None:
    """Raise ColourFound or UserError where an image is not what the target says all are."""
    if target.grey_only and not is_grey(image):
        raise ColourFound
    if target.exact and image.size != (target.size, target.size):
        shape = f"{image.width}x{image.height}"
        raise UserError(
            f"images are of mixed size ({target.size}x{target.size}, but {examples.where(index)} is {shape}): "
            f"pass --task.image-size, the side in pixels to train at"
        )


def look_around(examples: Examples, target: Target, skip_damaged: bool) -> Target:
    """Return the target, in colour where one of PROBES images, evenly spread, is.

    Raises:
        UserError: an image, which is named, cannot be opened or is of another size.
    """
    for index in np.linspace(0, len(examples) - 1, min(PROBES, len(examples)), dtype=int).tolist():
        try:
            _look(examples, index, lambda image: _check(examples, index, target, image))  # noqa: B023  # called at once
        except ColourFound:
            target = Target(target.size, 3, target.exact)
        except Damaged as error:
            if not skip_damaged:
                raise UserError(str(error)) from None
    return target


def pixels_of(examples: Examples, index: int, target: Target) -> np.ndarray:
    """Return uint8 [C, S, S] of one image. Raise Damaged, ColourFound, or UserError for one of another size."""

    def look(image: Image.Image) -> np.ndarray:
        _check(examples, index, target, image)
        return to_pixels(image, target.size, target.channels)

    return _look(examples, index, look)


def _chunk(examples: Examples, rows: range, target: Target, skip_damaged: bool) -> Chunk:
    pixels = np.empty((len(rows), target.channels, target.size, target.size), np.uint8)
    kept: list[int] = []
    for row in rows:
        try:
            pixels[len(kept)] = pixels_of(examples, row, target)
        except Damaged as error:
            if not skip_damaged:
                raise UserError(str(error)) from None
            continue
        kept.append(row)
    return Chunk(pixels[: len(kept)], kept, len(rows))


def decode(examples: Examples, target: Target, skip_damaged: bool, write: Callable[[np.ndarray], object]) -> list[int]:
    """Decode in threads, as Pillow lets go of Python's lock meanwhile, and write arrays [m, C, S, S] in order.

    Returns:
        The rows that were written: all, or those that can be read.

    Raises:
        UserError: an image is damaged; it is named.
        ColourFound: the target is grey, and an image is not.
    """
    count = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (target.channels * target.size**2)))
    work = (range(len(examples))[i : i + count] for i in range(0, len(examples), count))
    kept: list[int] = []
    with tqdm(
        total=len(examples),
        desc="reading images",
        unit="image",
        disable=len(examples) < SHOW_PROGRESS,
        mininterval=0.2 if sys.stderr.isatty() else 15.0,
        dynamic_ncols=True,
    ) as bar:
        for chunk in in_threads(lambda rows: _chunk(examples, rows, target, skip_damaged), work):
            write(chunk.pixels)
            kept += chunk.rows
            bar.update(chunk.tried)
    if not kept:
        raise none_readable(examples)
    return kept


def in_threads(work: Callable[[P], R], parts: Iterable[P]) -> Iterator[R]:
    """Yield work(part) for each part, in order, with only a few results waiting at any time."""
    workers = min(32, os.cpu_count() or 1)
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
