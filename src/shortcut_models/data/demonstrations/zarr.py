"""Diffusion Policy's replay buffer: a zarr group, as a folder or in a zip file.

`data/action` [n, size] and any other array of `data` [n, ...] hold all frames, one episode after another;
`meta/episode_ends` says where each episode ends. The camera that is called `img` there is `image` here, as elsewhere.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np

from ...errors import UserError
from .episodes import Demonstrations, is_image
from .frames import Part, cache_key, chosen, images, library, vectors, whole_numbers

MARKS = (".zgroup", "zarr.json")
"""files that make a folder a zarr group"""
_RENAMED = {"img": "image"}


def read(path: Path, names: Sequence[str] = ()) -> Demonstrations:
    """All episodes of a replay buffer; see `demonstrations.read`."""
    with _opened(path) as group:
        try:
            data, meta = group["data"], group["meta"]
            if not all(hasattr(part, "array_keys") for part in (data, meta)):
                raise UserError("data and meta must be groups: give a replay buffer, which has data/action")
            ends = whole_numbers("meta/episode_ends", _piece("meta/episode_ends", meta["episode_ends"], ...))
            stored = {_RENAMED.get(name, name): data[name] for name in sorted(data.array_keys()) if name != "action"}
            actions = vectors("action", [_whole("action", data["action"])])
        except KeyError as error:
            raise UserError(
                f"the group lacks {error.args[0]}: a replay buffer has data/action, meta/episode_ends"
            ) from None
        Demonstrations({}, actions, ends)  # what is wrong with these is said before images are read
        wanted = chosen(names, list(stored))
        for name in wanted:
            frames = stored[name].shape[0] if stored[name].ndim else "no"
            if frames != len(actions):
                raise UserError(f"there are {len(actions)} actions and {frames} frames of {name}: make them one each")
        return Demonstrations({name: _observation(path, name, stored[name]) for name in wanted}, actions, ends)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    library("zarr", "replay buffers")
    import zarr

    try:
        if path.is_dir():
            yield zarr.open_group(str(path), mode="r")
            return
        inner = _inner(path)
        with contextlib.closing(zarr.storage.ZipStore(str(path), mode="r")) as store:
            yield zarr.open_group(store, mode="r", path=inner)
    except (zipfile.BadZipFile, ValueError, FileNotFoundError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the file is damaged ({error}): copy it again") from None


def _inner(path: Path) -> str:
    """The path of the group inside a zip file."""
    with zipfile.ZipFile(path) as archive:
        groups = [name for name in archive.namelist() if name.rpartition("/")[2] in MARKS]
    if not groups:
        raise UserError("the zip file holds no zarr group: give one that holds a replay buffer")
    return min(groups, key=lambda name: name.count("/")).rpartition("/")[0]


def _whole(name: str, array: Any) -> Part:
    if not getattr(array, "shape", ()):
        raise UserError(f"data/{name} has no frames: write it again, with one for each action")
    return Part(f"data/{name}", array.shape[0], _piece(f"data/{name}", array, ...))


def _piece(where: str, array: Any, rows: slice | EllipsisType) -> np.ndarray:
    try:
        return np.asarray(array[rows])
    except Exception as error:  # a damaged chunk raises whatever its codec does
        raise UserError(f"{where} is damaged ({error}): copy the replay buffer again") from None


def _observation(path: Path, name: str, array: Any) -> np.ndarray:
    if not is_image(array):
        return vectors(name, [_whole(name, array)])

    def parts() -> Iterator[Part]:
        for start in range(0, array.shape[0], array.chunks[0]):
            rows = slice(start, min(start + array.chunks[0], array.shape[0]))
            yield Part(f"data/{name}", rows.stop - rows.start, _piece(f"data/{name}", array, rows))

    files = sorted(file for file in (path / array.path).rglob("*") if file.is_file()) if path.is_dir() else [path]
    return images(name, cache_key(files, name), parts)
