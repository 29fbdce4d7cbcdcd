"""Diffusion Policy's replay buffer: a zarr group, as a folder or in a zip file.

`data/action` [n, size] and any other array of `data` [n, ...] hold all frames, one episode after another;
`meta/episode_ends` holds the end of each episode. The camera `img` is called `image` here, as in other formats.
"""

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np

from ...errors import UserError
from .episodes import Demonstrations, check_frames
from .frames import Block, as_integers, import_extra, is_image, read_frames, select_names, stack_vectors

MARKERS = (".zgroup", "zarr.json")  # files that identify a folder as a zarr group
_RENAMED = {"img": "image"}


def read(path: Path, names: Sequence[str] = ()) -> Demonstrations:
    """Read all episodes of a replay buffer; see `demonstrations.read`."""
    with _open(path) as group:
        try:
            data, meta = group["data"], group["meta"]
            if not all(hasattr(part, "array_keys") for part in (data, meta)):
                raise UserError("data and meta must be groups: use a replay buffer, which has data/action")
            ends = as_integers("meta/episode_ends", _read_rows("meta/episode_ends", meta["episode_ends"], ...))
            stored = {_RENAMED.get(name, name): data[name] for name in sorted(data.array_keys()) if name != "action"}
            actions = stack_vectors("action", [_read_all("action", data["action"])])
        except KeyError as error:
            raise UserError(
                f"the group lacks {error.args[0]}: a replay buffer has data/action, meta/episode_ends"
            ) from None
        Demonstrations({}, actions, ends)  # reports mistakes before the images are read
        wanted = select_names(names, list(stored))
        for name in wanted:
            check_frames(name, stored[name], len(actions))
        return Demonstrations({name: _observation(path, name, stored[name]) for name in wanted}, actions, ends)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    zarr = import_extra("zarr", "replay buffers")
    try:
        if path.is_dir():
            yield zarr.open_group(str(path), mode="r")
            return
        inner = _find_group(path)
        with contextlib.closing(zarr.storage.ZipStore(str(path), mode="r")) as store:
            yield zarr.open_group(store, mode="r", path=inner)
    except (zipfile.BadZipFile, ValueError, FileNotFoundError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the file is damaged ({error}): copy it again") from None


def _find_group(path: Path) -> str:
    """Return the path of the group inside a zip file."""
    with zipfile.ZipFile(path) as archive:
        groups = [name for name in archive.namelist() if name.rpartition("/")[2] in MARKERS]
    if not groups:
        raise UserError("the zip file does not hold a zarr group: use one that holds a replay buffer")
    return min(groups, key=lambda name: name.count("/")).rpartition("/")[0]


def _read_all(name: str, array: Any) -> Block:
    if not getattr(array, "shape", ()):
        raise UserError(f"data/{name} has no frames: write it again, with one for each action")
    return Block(f"data/{name}", array.shape[0], _read_rows(f"data/{name}", array, ...))


def _read_rows(where: str, array: Any, rows: slice | EllipsisType) -> np.ndarray:
    try:
        return np.asarray(array[rows])
    except Exception as error:  # a damaged chunk raises the exceptions of its codec
        raise UserError(f"{where} is damaged ({error}): copy the replay buffer again") from None


def _observation(path: Path, name: str, array: Any) -> np.ndarray:
    def blocks() -> Iterator[Block]:
        step = array.chunks[0] if is_image(array) else max(array.shape[0], 1)
        for start in range(0, array.shape[0], step):
            rows = slice(start, min(start + step, array.shape[0]))
            yield Block(f"data/{name}", rows.stop - rows.start, _read_rows(f"data/{name}", array, rows))

    files = sorted(file for file in (path / array.path).rglob("*") if file.is_file()) if path.is_dir() else [path]
    return read_frames(name, array, files, blocks)
