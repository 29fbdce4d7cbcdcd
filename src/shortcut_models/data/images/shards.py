"""Tar shards named as WebDataset does, and the index, kept in the cache folder, of where in them each image is."""

import contextlib
import functools
import gzip
import io
import os
import shutil
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

from ...errors import UserError
from ...system.files import cache_folder, writing
from ...system.progress import progress
from .cache import cache_key, cannot_write
from .decode import in_threads
from .examples import Examples, ImageFiles, count_classes, encoded
from .layout import IMAGE

VERSION = 2  # of what an index holds; after a change every index is made again
_KEPT_OPEN = 64  # shards that a process keeps open: more than are read from at one time
Stamp = tuple[int, int]  # size in bytes and time of change in ns: what tells one state of a file from another
Member = tuple[str, int, int, int, int]  # name, number of the shard, where its bytes start, their count, class or -1
Places = Int64[np.ndarray, "4 n"]  # the numbers of all images


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=_KEPT_OPEN)
def _opened(path: Path, stamp: Stamp) -> io.FileIO:
    """Return a file for reading at given places, which threads may share."""
    file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed when the cache drops it
    if _stamp(os.fstat(file.fileno())) != stamp:
        raise UserError(f"{path} has changed since its index was made: start the command again")
    return file


def _open_member(paths: tuple[Path, ...], stamps: list[Stamp], places: Places, row: int) -> Image.Image:
    shard, start, size, _ = places[:, row].tolist()
    file = _opened(paths[shard], stamps[shard])
    return Image.open(io.BytesIO(os.pread(file.fileno(), size, start)))


def is_compressed(shard: Path) -> bool:
    with open(shard, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextlib.contextmanager
def unpacked(shards: tuple[Path, ...]) -> Iterator[tuple[Path, ...]]:
    """Yield the shards; in place of compressed ones copies that are not, for as long as this is open."""
    with tempfile.TemporaryDirectory(prefix="shortcut-models-") as scratch:
        plain = list(shards)
        for number, shard in enumerate(shards):
            if is_compressed(shard):
                plain[number] = Path(scratch) / f"{number}.tar"
                with _explained(shard), gzip.open(shard) as packed, open(plain[number], "wb") as copy:
                    shutil.copyfileobj(packed, copy, 1 << 20)
        yield tuple(plain)


def read_shards(files: ImageFiles, unpacked_files: tuple[Path, ...] = ()) -> Examples:
    """Return the images of tar shards, or of unpacked copies: KEY.png (or another suffix) and its label KEY.cls."""
    plain = unpacked_files or files.files
    stamps = [_stamp(path.stat()) for path in plain]
    names, places = _cached_index(files, stamps) if plain == files.files else _scan_all(files, plain)
    labelled = places[3] >= 0
    if labelled.any() and not labelled.all():
        bare = files.root / names[int(np.argmin(labelled))]
        raise UserError(f"{bare} has no label (KEY.cls), but other images have: add it, or drop all labels")
    labels = places[3] if labelled.all() else None
    opened = functools.partial(_open_member, plain, stamps, places)
    return Examples(files.root, names, opened, labels, count_classes(labels), blocks=places[0])


def _cached_index(files: ImageFiles, stamps: list[Stamp]) -> tuple[list[str], Places]:
    """Return the index of shards from the cache folder, or make it and keep it there."""
    key = cache_key([VERSION, [(str(path), *stamp) for path, stamp in zip(files.files, stamps, strict=True)]])
    path = cache_folder() / f"{key}.index.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        with np.load(path, allow_pickle=False) as file:
            names, places = file["names"].tobytes().decode("utf-8", "surrogateescape").split("\0"), file["places"]
        if places.shape == (4, len(names)):
            return names, places
    names, places = _scan_all(files, files.files)
    try:
        with writing(path) as file:
            np.savez(file, names=np.frombuffer(encoded("\0".join(names)), np.uint8), places=places)
    except OSError as error:
        warnings.warn(f"{cannot_write(error)}; shards are indexed at every start", stacklevel=2)
    return names, places


def _scan_all(files: ImageFiles, plain: tuple[Path, ...]) -> tuple[list[str], Places]:
    members: list[Member] = []
    with progress(len(plain), "shard", desc="indexing shards", delay=1) as bar:
        for found in in_threads(lambda number: _scan(files, plain[number], number), range(len(plain))):
            members += found
            bar.update()
    names, *places = zip(*members, strict=True)
    return list(names), np.array(places, np.int64)


@contextlib.contextmanager
def _explained(shard: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{shard} is damaged or not a tar file ({error}): copy or pack it again") from None


def _scan(files: ImageFiles, path: Path, number: int) -> list[Member]:
    shard, images, labels = files.files[number], {}, {}
    with _explained(shard), open(path, "rb", buffering=0) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            key = f"{folder}/{stem}"
            if not member.isreg() or not stem:
                continue
            if IMAGE.fullmatch(f".{extension}"):
                if key in images:
                    raise UserError(f"{shard} holds two images of the key {stem}: keep one")
                name = f"{shard.relative_to(files.root).as_posix()}:{member.name}"
                images[key] = (name, number, member.offset_data, member.size)
            elif extension.lower() == "cls":
                labels[key] = _label(os.pread(file.fileno(), member.size, member.offset_data), shard, member.name)
        # tarfile takes a header that is cut off for the end, without a word.
        if os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends early, or is broken in the middle")
    if not images:
        rule = "members must be named KEY.png (or .jpg, .webp, ...), without a dot in KEY"
        raise UserError(f"no images in {shard}: {rule}; pack it again, or leave it out")
    return [(*image, labels.get(key, -1)) for key, image in images.items()]


def _label(text: bytes, shard: Path, name: str) -> int:
    try:
        label = int(text)
    except ValueError:
        label = -1
    if not 0 <= label < 2**63:
        shown = text[:20].decode("utf-8", "replace").strip()
        raise UserError(f"{shard}:{name} must hold a whole number from 0, not {shown!r}: number the classes")
    return label
