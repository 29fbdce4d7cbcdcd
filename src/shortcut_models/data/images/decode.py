"""From images of any mode, size and orientation to uint8 pixels of one shape, many at a time."""

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from ...errors import UserError
from ...system.files import NO_FILE
from ...system.progress import progress
from .examples import Examples

P = TypeVar("P")
R = TypeVar("R")
CHUNK_IMAGES, CHUNK_BYTES = 64, 2**22  # what a thread decodes, at most, before it hands it over
PASS_SIZE = "pass --task.image-size, the side in pixels to train at"
PROBES = 64  # images that are opened before a set is read in place
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_GREY = _DEEP | {"1", "L", "LA", "La", "F"}


class Damaged(Exception):
    """An image cannot be read, and is to be left out."""


class Unsuitable(ValueError):
    """An image is whole, but is not used as it is; args: the reason, and what to do."""


class ColourFound(Exception):
    """An image in colour came after images that were all grey."""


@dataclass(frozen=True)
class Target:
    """What images are decoded to."""

    size: int
    channels: int
    skip_damaged: bool  # leave out images that cannot be read
    exact: bool  # every image must be of this size already
    grey_only: bool  # an image in colour raises ColourFound

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, self.size, self.size)

    @property
    def nbytes(self) -> int:
        return self.channels * self.size**2

    def in_colour(self) -> "Target":
        return dataclasses.replace(self, channels=3, grey_only=False)


def decide(examples: Examples, image_size: int | None, channels: int | None, skip_damaged: bool) -> Target:
    """Return the target of a set; its first image decides what is not given, or raises UserError."""
    for index in range(len(examples)):
        with contextlib.suppress(Damaged), _opened(examples, index, skip_damaged) as image:
            (width, height), grey = image.size, image.mode in _GREY
            break
    else:
        raise _none_readable(examples)
    if image_size is None and (width != height or width % 2):
        raise UserError(f"{examples.where(index)} is {width}x{height}: {PASS_SIZE}")
    exact, grey_only = image_size is None, channels is None and grey
    return Target(image_size or width, channels or (1 if grey else 3), skip_damaged, exact, grey_only)


def first_side(examples: Examples, skip_damaged: bool) -> int:
    """Return the shorter side of the first image that can be read."""
    for index in range(len(examples)):
        with contextlib.suppress(Damaged), _opened(examples, index, skip_damaged) as image:
            return min(image.size)
    raise _none_readable(examples)


def _none_readable(examples: Examples) -> UserError:
    return UserError(f"none of the {len(examples)} images in {examples.root} can be read: check the files")


@contextlib.contextmanager
def _opened(examples: Examples, index: int, skip_damaged: bool) -> Iterator[Image.Image]:
    """Open an image, and raise UserError or Damaged for anything that goes wrong inside Pillow."""
    remedy = "remove it"
    try:
        with examples.open(index) as image:
            yield image
            return
    except (UserError, ColourFound, MemoryError):
        raise
    except Unsuitable as error:
        reason, remedy = error.args
    except Image.DecompressionBombError:
        reason = f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels"
        remedy = "make it smaller"
    except OSError as error:
        if error.errno in NO_FILE and skip_damaged:
            raise Damaged from None
        if error.errno is not None:  # from the file system, not from Pillow
            gone = ": remove it, or pass --task.skip-damaged" if error.errno in NO_FILE else ""
            raise UserError(f"cannot read {examples.where(index)}: {error.strerror}{gone}") from None
        reason = str(error).split(" <_io")[0]
    except Exception as error:  # decoders raise almost anything
        reason = f"{type(error).__name__}: {error}"
    if skip_damaged:
        raise Damaged
    raise UserError(
        f"{examples.where(index)} cannot be read as an image ({' '.join(reason.split())}): "
        f"{remedy}, or pass --task.skip-damaged"
    )


def _check(examples: Examples, index: int, target: Target, image: Image.Image) -> None:
    if target.grey_only and image.mode not in _GREY:
        raise ColourFound
    if target.exact and image.size != (target.size, target.size):
        other = f"{examples.where(index)} is {image.width}x{image.height}"
        raise UserError(f"images are of mixed size ({target.size}x{target.size}, but {other}): {PASS_SIZE}")


def probe(examples: Examples, target: Target) -> Target:
    """Check PROBES images, evenly spread, and return the target, in colour if one of them is."""
    for index in np.linspace(0, len(examples) - 1, min(PROBES, len(examples)), dtype=int).tolist():
        try:
            with contextlib.suppress(Damaged), _opened(examples, index, target.skip_damaged) as image:
                _check(examples, index, target, image)
        except ColourFound:
            target = target.in_colour()
    return target


def pixels_of(examples: Examples, index: int, target: Target) -> UInt8[np.ndarray, "c s s"]:
    """Return the pixels of one image, or raise UserError, Damaged or ColourFound."""
    with _opened(examples, index, target.skip_damaged) as image:
        _check(examples, index, target, image)
        return to_pixels(image, target.size, target.channels)


def _chunk(examples: Examples, rows: range, target: Target) -> tuple[UInt8[np.ndarray, "m c s s"], list[int]]:
    pixels = np.empty((len(rows), *target.shape), np.uint8)
    kept: list[int] = []
    for row in rows:
        with contextlib.suppress(Damaged):
            pixels[len(kept)] = pixels_of(examples, row, target)
            kept.append(row)
    return pixels[: len(kept)], kept


def decode(examples: Examples, target: Target, write: Callable[[np.ndarray], object]) -> list[int]:
    """Decode in threads, and write arrays [m, C, S, S] in order. Return the rows that could be read."""
    count = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // target.nbytes))
    work = [range(len(examples))[i : i + count] for i in range(0, len(examples), count)]
    kept: list[int] = []
    chunks = in_threads(lambda rows: _chunk(examples, rows, target), work)
    with progress(len(examples), "image", desc="reading images", delay=1) as bar:
        for rows, (pixels, found) in zip(work, chunks, strict=True):
            write(pixels)
            kept += found
            bar.update(len(rows))
    if not kept:
        raise _none_readable(examples)
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
        yield from (future.result() for future in waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def to_pixels(image: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "c s s"]:
    """Turn upright, composite on white, resize the shorter side to `size`, crop the centre."""
    image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size
    image = _plain(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in mode L or RGB. Raises Unsuitable if the range of its values is not known."""
    if image.mode in _DEEP or image.mode == "F":  # 16 bits, or floats from 0 to 1
        values = np.asarray(image).astype(np.float64)
        most = 1.0 if image.mode == "F" else 65535.0
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= most):
            kind = "floats" if image.mode == "F" else "values"
            raise Unsuitable(f"{kind} must be from 0 to {most:g}, not from {low:g} to {high:g}", "rescale it")
        if image.mode != "F" and 0 < high <= 255:
            raise Unsuitable(f"its values of 16 or 32 bits are at most {high:g}, almost black", "save it with 8 bits")
        image = Image.fromarray(np.rint(values * (255 / most)).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode in _GREY else "RGB")
    return image if image.mode == mode else image.convert(mode)
