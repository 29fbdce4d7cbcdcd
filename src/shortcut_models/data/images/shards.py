"""Tar shards named as WebDataset does, and the index, kept in the cache folder, of where in them each image is."""

import contextlib
import functools
import gzip
import io
import json
import os
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

from ...errors import UserError
from ...system.files import cache_folder, file_stamp, writing
from ...system.progress import progress
from .cache import cache_key, cannot_write
from .class_names import below_common, member_classes, split_path
from .decode import in_threads
from .examples import Examples, ImageFiles, count_classes
from .labels import numbered
from .members import Label, Member, explained, member_name, scan
from .notes import Notes, note_leftover

VERSION = 4  # of what an index holds; after a change every index is made again
_KEPT_OPEN = 64  # shards that a process keeps open: more than are read from at one time
Stamp = tuple[int, ...]  # see `file_stamp`
Places = Int64[np.ndarray, "4 n"]  # of each image: number of the shard, where its bytes start, their count, class or -1


@dataclass(frozen=True)
class Index:
    """The images of shards."""

    names: list[str]
    places: Places
    class_names: tuple[str, ...]
    label_files: tuple[str, ...]  # names of members such as metadata.csv
    notes: Notes


@functools.lru_cache(maxsize=_KEPT_OPEN)
def _opened(path: Path, stamp: Stamp) -> io.FileIO:
    """Return a file for reading at given places, which threads may share."""
    file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed when the cache drops it
    if file_stamp(file.fileno()) != stamp:
        file.close()
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
                with explained(shard), gzip.open(shard) as packed, open(plain[number], "wb") as copy:
                    shutil.copyfileobj(packed, copy, 1 << 20)
        yield tuple(plain)


def read_shards(files: ImageFiles, unpacked_files: tuple[Path, ...] = ()) -> Examples:
    """Return the images of tar shards, or of unpacked copies: KEY.png (or another suffix) and its label KEY.cls.

    Without labels, folders that the members are in are the classes, as in a folder.
    """
    plain = unpacked_files or files.files
    stamps = [file_stamp(path) for path in plain]
    index = _cached_index(files)
    names, places, classes, notes = index.names, index.places, index.class_names, index.notes
    paths = _paths(files, index)
    if files.inner:
        rows = [row for row, path in enumerate(paths) if path.startswith(f"{files.inner}/")]
        names, places = [names[row] for row in rows], places[:, rows]
        paths = [paths[row][len(files.inner) + 1 :] for row in rows]
        notes = replace(notes, left_out={})  # said of the shards as a whole
    labels = places[3] if notes.labels else None
    if labels is None and index.label_files:
        unread = f"{' and '.join(index.label_files)} in the shards is not read: unpack them to use its labels"
        notes += Notes(remarks=(unread,))
    elif labels is None and not notes.remarks:
        labels, classes, trouble = member_classes(paths)
        notes += Notes(remarks=(trouble,) * bool(trouble), labels="the folders of the members" * (labels is not None))
    opened = functools.partial(_open_member, plain, stamps, places)
    count = len(classes) or count_classes(labels)
    return Examples(files.root, names, opened, labels, count, classes, places[0], notes)


def top_folders(files: ImageFiles) -> tuple[str, list[str], list[str], Notes]:
    """Return the folder that holds all images in shards, or ""; the folders and images right below it; what is said."""
    index = _cached_index(files)
    common, names = below_common(_paths(files, index))
    tops = {name.split("/", 1)[0] for name in names if "/" in name}
    return common, sorted(tops), [name for name in names if "/" not in name], Notes(index.notes.left_out)


def _paths(files: ImageFiles, index: Index) -> list[str]:
    """Return the path of each image in its shard."""
    starts = [len(member_name(files, shard, "")) for shard in files.files]
    shards = index.places[0].tolist()
    return ["/".join(split_path(name[starts[shard] :])) for name, shard in zip(index.names, shards, strict=True)]


def _cached_index(files: ImageFiles) -> Index:
    """Return the index of shards from the cache folder, or make it and keep it there."""
    key = cache_key([VERSION, [(str(path), *file_stamp(path)) for path in files.files]])
    path = cache_folder() / f"{key}.index.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        with np.load(path, allow_pickle=False) as file:
            texts, places = file["texts"].tobytes().decode("utf-8", "surrogateescape"), file["places"]
        names, classes, label_files, notes = json.loads(texts)
        if places.shape == (4, len(names)):
            return Index(names, places, tuple(classes), tuple(label_files), Notes.from_json(notes))
    with unpacked(files.files) as plain:
        index = _scan_all(files, plain)
    texts = json.dumps([index.names, index.class_names, index.label_files, asdict(index.notes)])
    try:
        with writing(path) as file:
            np.savez(file, texts=np.frombuffer(texts.encode(), np.uint8), places=index.places)
    except OSError as error:
        warnings.warn(f"{cannot_write(error)}; shards are indexed at every start", stacklevel=2)
    return index


def _scan_all(files: ImageFiles, plain: tuple[Path, ...]) -> Index:
    members: list[Member] = []
    labels: list[Label] = []
    left_out: Counter[str] = Counter()
    passed_over: set[str] = set()
    label_files: set[str] = set()
    with progress(len(plain), "shard", desc="indexing shards", delay=1) as bar:
        for found in in_threads(lambda number: scan(files, plain[number], number), range(len(plain))):
            members += found.images.values()
            labels += [found.label(key) for key in found.images]
            left_out += found.left_out
            passed_over |= found.passed_over
            label_files |= found.label_files
            bar.update()
    for folder in passed_over:
        note_leftover(folder.rpartition("/")[2], True, left_out)
    names, *places = zip(*members, strict=True)
    bare = next((row for row, label in enumerate(labels) if label is None), None)
    classes: tuple[str, ...] = ()
    numbers, notes = None, Notes(dict(left_out))
    if bare is None:
        numbers, classes, trouble = numbered(files.root, labels)
        where = "" if numbers is None else "KEY.cls or KEY.json"
        notes = replace(notes, remarks=(trouble,) * bool(trouble), labels=where)
    elif any(label is not None for label in labels):
        raise UserError(
            f"{files.root / names[bare]} has no label (KEY.cls or KEY.json), but other images have: "
            f"add it, or drop all labels"
        )
    column = np.full(len(names), -1) if numbers is None else numbers
    return Index(list(names), np.array([*places, column], np.int64), classes, tuple(sorted(label_files)), notes)
