"""Diffusion Policy's replay buffer: a zarr group, as a folder or in a zip file.

`data/action` [n, size] and any other array of `data` [n, ...] hold all frames, one episode after another;
`meta/episode_ends` holds the end of each episode. The camera `img` is called `image` here, as in other formats.
"""

import contextlib
import importlib
import json
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np

from ...errors import UserError
from .episodes import Demonstrations, check_frames
from .frames import (
    Block,
    as_integers,
    import_extra,
    is_image,
    names_left,
    read_frames,
    select_names,
    stack_vectors,
)

MARKERS = (".zgroup", "zarr.json")  # files that identify a folder as a zarr group
ARRAYS = (".zarray", "zarr.json")  # files that describe an array
_RENAMED = {"img": "image"}
_EXTRAS = {"zfpy": "zfpy", "pcodec": "pcodec", "crc32c": "crc32c", "msgpack2": "msgpack"}  # of numcodecs, by codec


def read(path: Path, names: Sequence[str] = ()) -> Demonstrations:
    """Read all episodes of a replay buffer; see `demonstrations.read`. Only arrays that are wanted are opened."""
    with _open(path) as (group, inner):
        try:
            data, meta = _part(group, "data"), _part(group, "meta")
            if not all(hasattr(part, "array_keys") for part in (data, meta)):
                raise UserError("data and meta must be groups: use a replay buffer, which has data/action")
            ends = as_integers("meta/episode_ends", _read_rows("meta/episode_ends", _part(meta, "episode_ends"), ...))
            actions = stack_vectors("action", [_read_all("action", _part(data, "action"))])
        except KeyError as error:
            raise UserError(
                f"the group lacks {error.args[0]}: a replay buffer has data/action, meta/episode_ends"
            ) from None
        Demonstrations({}, actions, ends)  # reports mistakes before the images are read
        stored = {_RENAMED.get(name, name): name for name in _arrays(path, inner) if name != "action"}
        wanted = {name: _part(data, stored[name]) for name in select_names(names, list(stored))}
        for name, array in wanted.items():
            check_frames(name, array, len(actions))
        observations = {name: _observation(path, name, array) for name, array in wanted.items()}
        return Demonstrations(observations, actions, ends, left_out=names_left(stored, wanted))


def _part(group: Any, name: str) -> Any:
    """Open an array or a group of a group, or raise UserError that names a codec that is not installed."""
    try:
        return group[name]
    except ValueError as error:
        codec = _missing_codec(error)
        if codec is None:
            raise
        install = "install the package that has it"
        if codec.startswith("imagecodecs_"):
            install = "pip install imagecodecs"
            with contextlib.suppress(ImportError, ValueError):
                importlib.import_module("imagecodecs.numcodecs").register_codecs(verbose=False)
                return group[name]
        elif codec in _EXTRAS:
            install = f"pip install 'numcodecs[{_EXTRAS[codec]}]'"
        raise UserError(
            f"{group.path.strip('/').rpartition('/')[2]}/{name} needs the codec {codec}, which is not installed: "
            f"{install}, or choose --task.observations without it"
        ) from None


def _missing_codec(error: ValueError) -> str | None:
    """Return the codec that an error of zarr or numcodecs is about, if it is not installed."""
    text = str(error)
    about = type(error).__name__ == "UnknownCodecError" or text.startswith("codec not available")
    return text.rpartition(":")[2].strip(" '\"") if about else None


def _arrays(path: Path, inner: str) -> list[str]:
    """Return the names of the arrays of `data`, without opening them: an array may need a codec that is missing."""
    if path.is_dir():
        files = (folder / name for folder in (path / "data").iterdir() for name in ARRAYS)
        found = [file for file in files if file.is_file()]
        return sorted({file.parent.name for file in found if _is_array(file.name, file.read_bytes())})
    start = f"{inner}/data/" if inner else "data/"
    with zipfile.ZipFile(path) as archive:
        named = {name.removeprefix(start): name for name in archive.namelist() if name.startswith(start)}
        inside = [name for name in named if name.count("/") == 1 and name.rpartition("/")[2] in ARRAYS]
        return sorted({name.split("/")[0] for name in inside if _is_array(name, archive.read(named[name]))})


def _is_array(name: str, content: bytes) -> bool:
    try:
        return name.endswith(".zarray") or json.loads(content)["node_type"] == "array"
    except (ValueError, KeyError, TypeError):
        raise UserError(f"data/{name} is damaged: copy the replay buffer again") from None


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[Any, str]]:
    """Open the group at a path; yield it, and its path in a zip file."""
    zarr = import_extra("zarr", "replay buffers")
    # Consolidated metadata would open all arrays.
    options = {"mode": "r"} | ({"use_consolidated": False} if int(zarr.__version__.split(".")[0]) > 2 else {})
    try:
        if path.is_dir():
            yield zarr.open_group(str(path), **options), ""
            return
        inner = _find_group(path)
        with contextlib.closing(zarr.storage.ZipStore(str(path), mode="r")) as store:
            yield zarr.open_group(store, path=inner, **options), inner
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


def _warn_of_missing(array: Any) -> None:
    """Warn of missing chunks: zarr reads them as its fill value."""
    if missing := array.nchunks - array.nchunks_initialized:
        warnings.warn(
            f"{missing} of {array.nchunks} chunks of {array.path} are missing and are read as {array.fill_value}: "
            f"copy the replay buffer again, unless they were never written",
            stacklevel=2,
        )


def _read_all(name: str, array: Any) -> Block:
    if not getattr(array, "shape", ()):
        raise UserError(f"data/{name} has no frames: write it again, with one for each action")
    _warn_of_missing(array)
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

    _warn_of_missing(array)
    files = sorted(file for file in (path / array.path).rglob("*") if file.is_file()) if path.is_dir() else [path]
    return read_frames(name, array, files, blocks)
