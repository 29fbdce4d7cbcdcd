"""From the parts that files hold, an episode or a piece of one at a time, to arrays of all frames.

Images are written once into a file of raw bytes in the cache folder, and mapped from there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int64, UInt8

from ...config import choose
from ...errors import UserError
from ...system.files import cache_folder, write_atomically, writing

VERSION = 1
"""of the way from files to frames; a change makes every cached file anew"""


class Part(NamedTuple):
    """Some frames of one observation, or some actions."""

    where: str
    """what messages call it"""
    frames: int
    """how many there are to be"""
    array: np.ndarray


def library(name: str, what: str) -> Any:
    """An optional package. Raises UserError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{what} need an extra: pip install 'shortcut-models[demonstrations]'") from None


def vectors(name: str, parts: Iterable[Part]) -> Float[np.ndarray, "n size"]:
    """All frames of a vector, of whatever shape it was, as float32 [n, size].

    Raises UserError where a part has another length or size, or holds no numbers.
    """
    found = [_flat(name, part) for part in _alike(name, parts)]
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def _flat(name: str, part: Part) -> np.ndarray:
    if part.array.dtype.kind not in "biuf":
        raise UserError(f"{part.where}: {name} holds {part.array.dtype}, not numbers: leave it out of the observations")
    with np.errstate(over="ignore"):  # what is infinite then is found later
        return part.array.reshape(len(part.array), math.prod(part.array.shape[1:])).astype(np.float32)


def whole_numbers(where: str, array: np.ndarray) -> Int64[np.ndarray, "k"]:
    """One axis of numbers, as integers. Raises UserError where there are other axes, or not only whole numbers."""
    if array.ndim != 1 or array.dtype.kind not in "iuf" or (array != np.floor(array)).any():
        raise UserError(
            f"{where} must be one list of whole numbers, not {array.dtype} {list(array.shape)}: write them again"
        )
    return array.astype(np.int64)


def images(name: str, key: str, parts: Callable[[], Iterable[Part]]) -> UInt8[np.ndarray, "n height width channels"]:
    """All frames of a camera, mapped from a file in the cache folder, which is made where it is not there.

    key: stands for all that the frames follow from, see `cache_key`. Raises UserError where a part has another length
    or size or holds no pixels, and where the cache cannot be written.
    """
    folder = cache_folder("demonstrations")
    path, entry = folder / f"{key}.uint8", folder / f"{key}.json"
    shape = _shape(path, entry)
    if shape is None:
        try:
            shape = _write(name, path, parts())
            write_atomically(entry, json.dumps({"shape": shape}).encode())
        except OSError as error:
            raise UserError(
                f"cannot write the cache {folder}: {error.strerror or error}; set XDG_CACHE_HOME to a folder with room"
            ) from None
    # Private pages that may be written to, as torch wants them; nobody does.
    return np.memmap(path, np.uint8, "c", shape=shape)


def _shape(path: Path, entry: Path) -> tuple[int, ...] | None:
    """The shape of the frames in a file of the cache, or None where it is not there, or is not whole."""
    try:
        shape = tuple(int(size) for size in json.loads(entry.read_bytes())["shape"])
        return shape if len(shape) == 4 and path.stat().st_size == math.prod(shape) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(name: str, path: Path, parts: Iterable[Part]) -> tuple[int, ...]:
    frames, size = 0, ()
    with writing(path) as file:
        for part in _alike(name, parts):
            pixels = _pixels(name, part)
            file.write(np.ascontiguousarray(pixels).data)
            frames, size = frames + len(pixels), pixels.shape[1:]
    return (frames, *size)


def _pixels(name: str, part: Part) -> UInt8[np.ndarray, "n height width channels"]:
    """Images as uint8. Diffusion Policy keeps them as floats from 0 to 255."""
    array = part.array
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4):
        raise UserError(
            f"{part.where}: images of {name} must be [frames, height, width, channels] with 1, 3 or 4 channels, not "
            f"{list(array.shape)}: transpose them"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf" or not (array.min() >= 0 and array.max() <= 255):
        raise UserError(f"{part.where}: images of {name} must be numbers from 0 to 255: convert them to uint8")
    if array.dtype.kind == "f" and 0 < array.max() <= 1:
        raise UserError(
            f"{part.where}: images of {name} go from 0 to 1: multiply them by 255, and convert them to uint8"
        )
    return np.rint(array).astype(np.uint8)


def _alike(name: str, parts: Iterable[Part]) -> Iterator[Part]:
    """The parts, each with as many frames as it is to have, and all of one shape."""
    first: Part | None = None
    for part in parts:
        first = first or part
        if part.array.ndim == 0 or len(part.array) != part.frames:
            count = len(part.array) if part.array.ndim else "no"
            raise UserError(f"{part.where} has {part.frames} actions and {count} frames of {name}: make them one each")
        if part.array.shape[1:] != first.array.shape[1:]:
            raise UserError(
                f"{name} is {_size(part)} in {part.where} and {_size(first)} in {first.where}: make all of one size"
            )
        yield part


def _size(part: Part) -> str:
    return " x ".join(map(str, part.array.shape[1:])) or "a number"


def cache_key(files: Sequence[Path], *facts: str) -> str:
    """A key for what is made of these files, as long as none changes."""
    stats = [(str(path.resolve()), path.stat()) for path in files]
    stamps = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return hashlib.sha256(json.dumps([VERSION, stamps, facts]).encode()).hexdigest()[:32]


def chosen(names: Sequence[str], available: Sequence[str]) -> tuple[str, ...]:
    """The names, or all that are available where there are none. Raises UserError, with a hint, for an unknown one."""
    return tuple(choose("observation", name, {known: known for known in available}) for name in names) or tuple(
        available
    )
