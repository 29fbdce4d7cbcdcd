"""Arrays of all frames, made of the blocks that files hold: an episode or a part of one.

Images are written once into a file of raw bytes in the cache folder, and memory-mapped from there.
"""

import hashlib
import importlib
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64, UInt8

from ...config import choose
from ...errors import UserError
from ...system.files import cache_folder, write_atomically, writing

PIXEL_MAX = 255
_MIN_STEPS = 256  # steps of float32 between least and most of a number, below which a warning is given
CACHE_VERSION = 2  # version of the conversion from files to frames; a change invalidates all cached files


class Block(NamedTuple):
    """Consecutive frames of one observation, or consecutive actions."""

    where: str  # its name in messages
    frames: int  # the number of frames that it must have
    array: np.ndarray


def import_extra(name: str, what: str) -> Any:
    """Return an optional package, or raise UserError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{what} need an extra: pip install 'shortcut-models[demonstrations]'") from None


def stack_vectors(name: str, blocks: Iterable[Block]) -> Float[np.ndarray, "n size"]:
    """Return all frames of a vector, or of an array that is flattened, as float32 [n, size]; blocks are checked."""
    found, bounds = [], []
    for where, _, array in _check(name, blocks):
        if array.dtype.kind not in "biuf":
            raise UserError(f"{where}: {name} holds {array.dtype}, not numbers: choose --task.observations without it")
        exact = array.reshape(len(array), math.prod(array.shape[1:]))
        with np.errstate(over="ignore"):  # Demonstrations reports infinite numbers
            found.append(exact.astype(np.float32))
        if (np.isinf(found[-1]) & np.isfinite(exact)).any():
            raise UserError(f"{where}: {name} holds numbers beyond those of float32: rescale it")
        if len(exact):
            bounds.append(np.stack([exact.min(0), exact.max(0)]).astype(np.float64))
    if bounds:
        _warn_of_rounding(name, np.min(bounds, 0)[0], np.max(bounds, 0)[1])
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def _warn_of_rounding(name: str, low: np.ndarray, high: np.ndarray) -> None:
    """Warn of numbers that hardly vary beside their size, such as times since 1970: float32 makes steps of them."""
    steps = (high - low) / (
        np.maximum(np.abs(low), np.abs(high)) * np.finfo(np.float32).eps + np.finfo(np.float32).tiny
    )
    if few := int(((steps > 0) & (steps < _MIN_STEPS)).sum()):
        warnings.warn(
            f"{few} of {len(steps)} numbers of {name} vary too little beside their size for float32, and are rounded: "
            f"subtract what they have in common",
            stacklevel=3,
        )


def read_frames(name: str, array: Any, files: Sequence[Path], blocks: Callable[[], Iterable[Block]]) -> np.ndarray:
    """Return all frames of an observation: of images `cache_images`, else `stack_vectors`.

    `array` holds some of them, in memory or in a file; all of them follow from `files`.
    """
    return cache_images(name, cache_key(files, name), blocks) if is_image(array) else stack_vectors(name, blocks())


def is_image(array: Any) -> bool:
    """Return whether an array of observations, in memory or in a file, holds images."""
    return array.ndim == 4


def as_integers(where: str, array: np.ndarray) -> Int64[np.ndarray, "k"]:
    """Return a list of whole numbers as integers, or raise UserError if it is not one."""
    if array.ndim != 1 or array.dtype.kind not in "iuf" or (array != np.floor(array)).any():
        raise UserError(
            f"{where} must be one list of whole numbers, not {array.dtype} {list(array.shape)}: write them again"
        )
    return array.astype(np.int64)


def cache_images(
    name: str, key: str, blocks: Callable[[], Iterable[Block]]
) -> UInt8[np.ndarray, "n height width channels"]:
    """Return all frames of a camera, memory-mapped from a file in the cache folder, which is written if necessary.

    `key` identifies everything that the frames follow from, see `cache_key`; `blocks` is called to write the file.
    """
    folder = cache_folder("demonstrations")
    path, entry = folder / f"{key}.uint8", folder / f"{key}.json"
    found = _cached(path, entry)
    if found is None:
        try:
            found = _write(name, path, blocks)
            write_atomically(entry, json.dumps({"shape": found[0], "scale": found[1]}).encode())
        except OSError as error:
            raise UserError(
                f"cannot write the cache {folder}: {error.strerror or error}; set XDG_CACHE_HOME to a folder with room"
            ) from None
    shape, scale = found
    if scale != 1:
        warnings.warn(
            f"images of {name} are multiples of 1/{scale} from 0 to 1, and were multiplied by {scale}", stacklevel=2
        )
    # Copy-on-write, as torch warns of arrays that are read-only.
    return np.memmap(path, np.uint8, "c", shape=shape)


def _cached(path: Path, entry: Path) -> tuple[tuple[int, ...], int] | None:
    """Return shape and scale of the frames in a file of the cache, or None where it does not exist or is not whole."""
    try:
        held = json.loads(entry.read_bytes())
        shape = tuple(int(size) for size in held["shape"])
        whole = len(shape) == 4 and path.stat().st_size == math.prod(shape)
        return (shape, int(held["scale"])) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(name: str, path: Path, blocks: Callable[[], Iterable[Block]]) -> tuple[tuple[int, ...], int]:
    scale, frames, size = _scale_of(blocks()), 0, ()
    with writing(path) as file:
        for block in _check(name, blocks()):
            pixels = as_uint8(f"{block.where}: images of {name}", block.array, scale)
            file.write(np.ascontiguousarray(pixels).data)
            frames, size = frames + len(pixels), pixels.shape[1:]
    return (frames, *size), scale


def _scale_of(blocks: Iterable[Block]) -> int:
    """Return what images are multiplied by: 255 for floats that are nowhere above 1, else 1."""
    most = 0.0
    for block in blocks:
        if block.array.dtype.kind != "f" or most > 1:
            return 1
        most = max(most, float(block.array.max(initial=0)))
    return PIXEL_MAX if 0 < most <= 1 else 1


def as_uint8(what: str, array: np.ndarray, scale: int = 1) -> UInt8[np.ndarray, "n height width channels"]:
    """Return images, multiplied by `scale`, as uint8, or raise UserError where that would change a number.

    Diffusion Policy stores whole floats from 0 to 255; robomimic hands out multiples of 1/255.
    """
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or not array.size:
        raise UserError(
            f"{what} must be [frames, height, width, channels] with 1, 3 or 4 channels, not {list(array.shape)}: "
            f"transpose them"
        )
    if array.dtype == np.uint8 and scale == 1:
        return array
    if array.dtype.kind not in "iuf":
        raise UserError(f"{what} hold {array.dtype}, not numbers: convert them to uint8")
    wanted = array if scale == 1 else array.astype(np.float64) * scale
    # A float of 1/255 is off by its rounding.
    tolerance = 0 if scale == 1 else scale * max(_epsilon(array.dtype), _epsilon(np.dtype(np.float32)))
    whole = np.rint(wanted)
    if not (whole.min() >= 0 and whole.max() <= PIXEL_MAX and np.abs(wanted - whole).max() <= tolerance):
        raise UserError(
            f"{what} are {array.dtype} from {array.min():.4g} to {array.max():.4g}, which 8 bits do not hold exactly: "
            f"convert them to uint8 from 0 to 255, or choose --task.observations without {what.rpartition(' ')[2]}"
        )
    return whole.astype(np.uint8)


def names_left(available: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return what to say of the observations that are not read: nothing, or one line."""
    left = [name for name in available if name not in set(wanted)]
    return (f"observations {', '.join(left)}",) if left else ()


def check_filled(names: Iterable[str], lengths: Iterable[int]) -> None:
    """Raise UserError that names an episode without frames."""
    for name, length in zip(names, lengths, strict=True):
        if not length:
            raise UserError(f"{name} has no frames: remove it")


def _epsilon(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _check(name: str, blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks after checking that each has its number of frames, and all have one shape."""
    first: Block | None = None
    for block in blocks:
        first = first or block
        if block.array.ndim == 0 or len(block.array) != block.frames:
            count = len(block.array) if block.array.ndim else "no"
            raise UserError(
                f"{block.where} has {block.frames} actions and {count} frames of {name}: write one of each per frame"
            )
        if block.array.shape[1:] != first.array.shape[1:]:
            raise UserError(
                f"{name} is {_size(block)} in {block.where} and {_size(first)} in {first.where}: use one size for all"
            )
        yield block


def _size(block: Block) -> str:
    return " x ".join(map(str, block.array.shape[1:])) or "a number"


def cache_key(files: Sequence[Path], *facts: str) -> str:
    """Return a key for what is made of these files and facts; it changes when a file changes or is replaced."""
    stats = [(str(path.resolve()), path.stat()) for path in files]
    # Copying tools set the time of the last change; they cannot set ctime, the time of the change of the entry.
    stamps = [(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for path, stat in stats]
    return hashlib.sha256(json.dumps([CACHE_VERSION, stamps, facts]).encode()).hexdigest()[:32]


def select_names(names: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """Return the names, or all that are available where there are none; raise UserError for an unknown name."""
    known = dict.fromkeys(available)
    for name in names:
        choose("observation", name, known)
    return tuple(names) or tuple(available)
