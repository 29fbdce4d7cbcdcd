"""Demonstrations, and the formats that hold them."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import UserError
from ...system.files import absolute_path
from . import lerobot, native, robomimic, zarr
from .episodes import Demonstrations
from .joining import join
from .summary import draw_episode
from .writing import Episode, write

ACCEPTED = (
    "a folder that `shortcut collect` wrote, a replay buffer of Diffusion Policy (.zarr or .zarr.zip), an HDF5 file of "
    "robomimic, or a LeRobot data set"
)
_SUFFIXES, _SHOWN = (".zarr", ".zip", ".hdf5", ".h5"), 4
_POINTER, _POINTER_SIZE = b"version https://git-lfs", 1024  # a pointer is smaller
Reader = Callable[[Path, Sequence[str]], Demonstrations]


def read(path: str | Path, names: Sequence[str] = ()) -> Demonstrations:
    """Read the demonstrations at a path, or those at several paths, separated by commas, as one set: see `join`.

    Images are written to the cache folder as uint8, and memory-mapped from there.

    Args:
        path: see ACCEPTED; a text with commas that is the name of an existing path is that path.
        names: observations to read, () for all.

    Raises:
        UserError: a path does not exist or has another format, data is damaged or invalid, an observation does not
            exist, or a package is missing.
    """
    text, parts = str(path), [part for part in str(path).split(",") if part]
    if "," not in text or not parts or os.path.exists(os.path.expanduser(text)):
        return _read(path, names)
    sets = [(part, _read(part, names)) for part in parts]
    try:
        return join(sets)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read(path: str | Path, names: Sequence[str]) -> Demonstrations:
    place = Path(absolute_path(path))
    try:
        return _find_reader(place)(place, names)
    except UserError as error:
        if pointer := _find_pointer(place):
            raise UserError(f"{path}: {pointer} is a Git LFS pointer, not the data: run `git lfs pull` there") from None
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from None


def is_demonstrations(path: str | Path) -> bool:
    """Return whether a path holds demonstrations of a known format, by its files' names and first bytes."""
    try:
        first = str(path) if os.path.exists(os.path.expanduser(path)) else str(path).split(",")[0]
        return not first.endswith(".npz") and bool(_find_reader(Path(absolute_path(first))))
    except (UserError, OSError):
        return False


def _find_reader(path: Path) -> Reader:
    if path.is_dir():
        for name, reader in ((native.HEADER, native.read), (lerobot.INFO, lerobot.read)):
            if (path / name).is_file():
                return reader
        if any((path / name).is_file() for name in zarr.MARKERS):
            return zarr.read
        if inside := _find_inside(path):
            raise UserError(
                f"this folder holds {', '.join(inside)}, not demonstrations of its own: choose one of these"
            )
        raise UserError(f"this folder does not hold demonstrations of a known format: use {ACCEPTED}")
    if not path.exists():
        raise UserError(f"this does not exist: use {ACCEPTED}")
    if not path.is_file():  # opening a pipe would wait
        raise UserError(f"this is neither a file nor a folder: use {ACCEPTED}")
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"PK"):
        return zarr.read
    if head == b"\x89HDF\r\n\x1a\n":
        return robomimic.read
    raise UserError(f"this file does not hold demonstrations of a known format: use {ACCEPTED}")


def _find_inside(folder: Path) -> list[str]:
    """Return what a folder holds that might be demonstrations, or a pattern and the first of many."""
    found = [
        entry.name for entry in sorted(folder.iterdir())
        if entry.suffix in _SUFFIXES or any((entry / name).is_file() for name in (native.HEADER, lerobot.INFO))
    ]  # fmt: skip
    return [*found[:_SHOWN], *(["..."] if len(found) > _SHOWN else [])]


def _find_pointer(path: Path) -> str:
    """Return the name of a file of a set that Git LFS has not fetched yet, or ""."""
    for file in [path] if path.is_file() else path.rglob("*") if path.is_dir() else []:
        with contextlib.suppress(OSError):
            if file.is_file() and file.stat().st_size < _POINTER_SIZE and file.read_bytes().startswith(_POINTER):
                return file.name
    return ""


__all__ = ["ACCEPTED", "Demonstrations", "Episode", "draw_episode", "is_demonstrations", "join", "read", "write"]
