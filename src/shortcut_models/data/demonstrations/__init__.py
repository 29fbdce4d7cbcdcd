"""Demonstrations, and the formats they are kept in."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import UserError
from . import lerobot, robomimic, zarr
from . import native as own
from .episodes import Demonstrations
from .joining import join

ACCEPTED = (
    "a folder that `shortcut collect` wrote, a replay buffer of Diffusion Policy (.zarr or .zarr.zip), an HDF5 file of "
    "robomimic, or a LeRobot data set"
)
Reader = Callable[[Path, Sequence[str]], Demonstrations]


def read(path: str | Path, names: Sequence[str] = ()) -> Demonstrations:
    """The demonstrations at a path, whatever their format; or at several, separated by commas, as one: see `join`.

    Images are kept in the cache folder as uint8, and mapped from there into memory.

    Args:
        path: what ACCEPTED says; where the whole text is the name of something, it is that.
        names: the observations that are wanted, () for all. The others are not read.

    Raises:
        UserError: a path that is none of these, data that is damaged or makes no sense, a name that is not there, or a
            package that is not installed.
    """
    text, place = str(path), _place(path)
    parts = [part for part in text.split(",") if part]
    if "," not in text or not parts or place.exists():
        return _read(path, place, names)
    sets = [(part, _read(part, _place(part), names)) for part in parts]
    try:
        return join(sets)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _place(path: str | Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


def _read(path: str | Path, place: Path, names: Sequence[str]) -> Demonstrations:
    try:
        return _reader(place)(place, names)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path}: {error.strerror or error}") from None


def _reader(path: Path) -> Reader:
    if path.is_dir():
        for name, reader in ((own.HEADER, own.read), (lerobot.INFO, lerobot.read)):
            if (path / name).is_file():
                return reader
        if any((path / name).is_file() for name in zarr.MARKS):
            return zarr.read
        raise UserError(f"this folder holds no demonstrations that are read: give {ACCEPTED}")
    if not path.exists():
        raise UserError(f"this does not exist: give {ACCEPTED}")
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"PK"):
        return zarr.read
    if head == b"\x89HDF\r\n\x1a\n":
        return robomimic.read
    raise UserError(f"this file holds no demonstrations that are read: give {ACCEPTED}")


__all__ = ["ACCEPTED", "Demonstrations", "join", "read"]
