"""Tar shards named as WebDataset does, and the index that says where in them each image is.

An index is made from the headers of the shards, once, and kept in the cache folder under a key of their names, sizes
and times of change. With it any image of any shard is one read away.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from PIL import Image
from tqdm import tqdm

from ...errors import UserError
from ...system.files import cache_folder, writing
from .decode import in_threads
from .examples import Examples
from .layout import IMAGE_SUFFIXES

VERSION = 1
"""of what an index holds; a change invalidates every one"""
_BLOCK = 512
"""bytes of a tar header; an archive ends with such a block of zeros"""
_KEPT_OPEN = 64
"""shards that a process keeps open: more than are read from at one time"""
SHOW_PROGRESS = 32
"""shards from which on a progress bar is worth its line"""
Stamp = tuple[int, int]
"""size in bytes and time of change in ns: what tells one state of a file from another"""


class _Member(NamedTuple):
    """One image of a shard: its name, where its bytes are, and its class, -1 where it has none."""

    name: str
    start: int
    size: int
    label: int


class _Index(NamedTuple):
    """The images of all shards, in order."""

    names: list[str]
    shard: Int64[np.ndarray, "n"]
    start: Int64[np.ndarray, "n"]
    size: Int64[np.ndarray, "n"]
    label: Int64[np.ndarray, "n"]


class _OpenFile:
    """A file for reading at given places, which threads and processes may share."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


@functools.lru_cache(maxsize=_KEPT_OPEN)
def _opened(path: Path, stamp: Stamp) -> _OpenFile:
    file = _OpenFile(path)
    if _stamp(os.fstat(file.handle)) != stamp:
        raise UserError(f"{path} has changed since its index was made: start the command again")
    return file


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True)
class _Shards:
    """Shards that are not compressed, with their index."""

    files: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    index: _Index

    def open(self, row: int) -> Image.Image:
        shard = int(self.index.shard[row])
        file = _opened(self.files[shard], self.stamps[shard])
        return Image.open(io.BytesIO(os.pread(file.handle, int(self.index.size[row]), int(self.index.start[row]))))


def is_compressed(shard: Path) -> bool:
    with open(shard, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextlib.contextmanager
def unpacked(shards: tuple[Path, ...]) -> Iterator[tuple[Path, ...]]:
    """Yield the shards; of compressed ones, copies that are not, for as long as this is open."""
    with tempfile.TemporaryDirectory(prefix="shortcut-models-") as scratch:
        plain = []
        for number, shard in enumerate(shards):
            if is_compressed(shard):
                plain.append(Path(scratch) / f"{number}.tar")
                with _explained(shard), gzip.open(shard) as packed, open(plain[-1], "wb") as copy:
                    shutil.copyfileobj(packed, copy, 1 << 20)
            else:
                plain.append(shard)
        yield tuple(plain)


def read_shards(root: Path, shards: tuple[Path, ...], plain: tuple[Path, ...]) -> Examples:
    """Return the images of tar shards: KEY.png (or another suffix) and, for its label, KEY.cls.

    plain: for each shard the file to read, itself or a copy that is not compressed.

    Raises:
        UserError: a shard is damaged or empty; some images lack labels; labels are not whole numbers from 0.
    """
    stamps = tuple(_stamp(path.stat()) for path in plain)
    key = _key(shards, stamps) if plain == shards else None
    index = None if key is None else _read(key)
    if index is None:
        index = _scan_all(root, shards, plain)
        if key is not None:
            _write(key, index)
    labelled = index.label >= 0
    if labelled.any() and not labelled.all():
        bare = index.names[int(np.argmin(labelled))]
        raise UserError(f"{root / bare} has no label (KEY.cls), but other images have: add it, or drop all labels")
    labels = index.label if labelled.all() else None
    classes = 0 if labels is None else int(labels.max()) + 1
    opened = _Shards(plain, stamps, index).open
    return Examples(root, index.names, opened, labels, classes, blocks=index.shard)


def _key(shards: tuple[Path, ...], stamps: tuple[Stamp, ...]) -> str:
    facts = [VERSION, [(str(path), *stamp) for path, stamp in zip(shards, stamps, strict=True)]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _read(key: str) -> _Index | None:
    """Return the index of a key, or None where it is not there, or is not whole."""
    try:
        with np.load(cache_folder() / f"{key}.index.npz", allow_pickle=False) as file:
            names = file["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            index = _Index(names, *(file[name] for name in _Index._fields[1:]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return index if {len(column) for column in index} == {len(names)} else None


def _write(key: str, index: _Index) -> None:
    names = np.frombuffer("\0".join(index.names).encode("utf-8", "surrogateescape"), np.uint8)
    try:
        with writing(cache_folder() / f"{key}.index.npz") as file:
            np.savez(file, **index._asdict() | {"names": names})
    except OSError as error:
        trouble = f"cannot write the image cache {cache_folder()}: {error.strerror or error}"
        warnings.warn(f"{trouble}; shards are indexed at every start", stacklevel=2)


def _scan_all(root: Path, shards: tuple[Path, ...], plain: tuple[Path, ...]) -> _Index:
    """Make the index of all shards, several of them read at a time."""

    def scan(number: int) -> list[_Member]:
        shard = shards[number]
        with _explained(shard):
            return _scan(plain[number], shard, shard.relative_to(root).as_posix())

    members: list[_Member] = []
    counts: list[int] = []
    quiet, interval = len(shards) < SHOW_PROGRESS, 0.2 if sys.stderr.isatty() else 15.0
    with tqdm(
        total=len(shards), desc="indexing shards", unit="shard", disable=quiet, mininterval=interval, dynamic_ncols=True
    ) as bar:
        for found in in_threads(scan, range(len(shards))):
            members += found
            counts.append(len(found))
            bar.update()
    names, *columns = zip(*members, strict=True)
    start, size, label = (np.array(column, np.int64) for column in columns)
    return _Index(list(names), np.repeat(np.arange(len(shards)), counts), start, size, label)


@contextlib.contextmanager
def _explained(shard: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{shard} is damaged or is not a tar file ({error}): copy or pack it again") from None


def _scan(path: Path, shard: Path, shown: str) -> list[_Member]:
    """List the images of a shard, in order, with their labels."""
    images: dict[str, _Member] = {}
    labels: dict[str, int] = {}
    with open(path, "rb", buffering=0) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            if not member.isreg() or not stem:
                continue
            key = f"{folder}/{stem}"
            if f".{extension.lower()}" in IMAGE_SUFFIXES:
                if key in images:
                    raise UserError(f"{shard} holds two images of the key {stem}: keep one")
                images[key] = _Member(f"{shown}:{member.name}", member.offset_data, member.size, -1)
            elif extension.lower() == "cls":
                labels[key] = _label(os.pread(file.fileno(), member.size, member.offset_data), shard, member.name)
        # tarfile takes a header that is cut off for the end, without a word.
        if os.pread(file.fileno(), _BLOCK, archive.offset) != bytes(_BLOCK):
            raise tarfile.ReadError("it ends early, or is broken in the middle")
    if not images:
        raise UserError(
            f"no images in {shard}: members must be named KEY.png (or .jpg, .webp, ...), without a dot in KEY; "
            f"pack it again, or leave it out"
        )
    return [image._replace(label=labels.get(key, -1)) for key, image in images.items()]


def _label(text: bytes, shard: Path, name: str) -> int:
    try:
        label = int(text)
    except ValueError:
        label = -1
    if not 0 <= label < 2**63:
        shown = text[:20].decode("utf-8", "replace").strip()
        raise UserError(f"{shard}:{name} must hold a whole number from 0, not {shown!r}: number the classes")
    return label
