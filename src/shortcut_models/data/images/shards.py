"""Tar shards named as WebDataset does, and the index, kept in the cache folder, of where in them each image is."""

import contextlib
import functools
import gzip
import io
import json
import os
import shutil
import tarfile
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
from .decode import in_threads
from .examples import Examples, ImageFiles, count_classes
from .labels import LABEL_NAMES, named, numbered
from .notes import IMAGE, Notes, is_leftover, note_file, note_leftover

VERSION = 3  # of what an index holds; after a change every index is made again
_KEPT_OPEN = 64  # shards that a process keeps open: more than are read from at one time
Stamp = tuple[int, ...]  # see `file_stamp`
Member = tuple[str, int, int, int]  # name, number of the shard, where its bytes start, their count
Label = int | str | None
Places = Int64[np.ndarray, "4 n"]  # of each image: number of the shard, where its bytes start, their count, class or -1


@dataclass(frozen=True)
class Index:
    """The images of shards."""

    names: list[str]
    places: Places
    class_names: tuple[str, ...]
    notes: Notes


@functools.lru_cache(maxsize=_KEPT_OPEN)
def _opened(path: Path, stamp: Stamp) -> io.FileIO:
    """Return a file for reading at given places, which threads may share."""
    file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed when the cache drops it
    if file_stamp(file.fileno()) != stamp:
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
    stamps = [file_stamp(path) for path in plain]
    index = _cached_index(files, stamps) if plain == files.files else _scan_all(files, plain)
    labels = index.places[3] if index.notes.labels else None
    opened = functools.partial(_open_member, plain, stamps, index.places)
    classes = len(index.class_names) or count_classes(labels)
    blocks = index.places[0]
    return Examples(files.root, index.names, opened, labels, classes, index.class_names, blocks, index.notes)


def _cached_index(files: ImageFiles, stamps: list[Stamp]) -> Index:
    """Return the index of shards from the cache folder, or make it and keep it there."""
    key = cache_key([VERSION, [(str(path), *stamp) for path, stamp in zip(files.files, stamps, strict=True)]])
    path = cache_folder() / f"{key}.index.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        with np.load(path, allow_pickle=False) as file:
            texts, places = file["texts"].tobytes().decode("utf-8", "surrogateescape"), file["places"]
        names, classes, notes = json.loads(texts)
        if places.shape == (4, len(names)):
            return Index(names, places, tuple(classes), Notes.from_json(notes))
    index = _scan_all(files, files.files)
    texts = json.dumps([index.names, index.class_names, asdict(index.notes)])
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
    with progress(len(plain), "shard", desc="indexing shards", delay=1) as bar:
        for found in in_threads(lambda number: _scan(files, plain[number], number), range(len(plain))):
            members += found.images.values()
            labels += [found.label(key) for key in found.images]
            left_out += found.left_out
            bar.update()
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
    return Index(list(names), np.array([*places, column], np.int64), classes, notes)


@contextlib.contextmanager
def _explained(shard: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{shard} is damaged or not a tar file ({error}): copy or pack it again") from None


class _Shard:
    """What a shard holds, by key: the folder of a member, and its name up to the suffix."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.images: dict[str, Member] = {}
        self.labels: dict[str, Label] = {}
        self.left_out: Counter[str] = Counter()
        self.dotted: list[tuple[str, str, Member]] = []
        """images that have a dot in their key: the key, all after its first dot, and the member"""

    def add(self, key: str, member: Member) -> None:
        if key in self.images:
            raise UserError(f"{self.name} holds two images of the key {key.rpartition('/')[2]}: keep one")
        self.images[key] = member

    def label(self, key: str) -> Label:
        return self.labels.get(key, self.labels.get(_until_dot(key)))

    def sort_dotted(self) -> None:
        """Add images such as img1.v2.png, and leave out parts of examples such as 1.mask.png beside 1.png."""
        ends = Counter(end for _, end, _ in self.dotted)
        keys = Counter(_until_dot(key) for key, _, _ in self.dotted)
        plain = set(self.images)
        for key, end, member in self.dotted:
            if (first := _until_dot(key)) in plain or (keys[first] > 1 and ends[end] > 1):
                self.left_out[f".{end} member(s)"] += 1
            else:
                self.add(key, member)


def _until_dot(key: str) -> str:
    folder, _, base = key.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


def _scan(files: ImageFiles, path: Path, number: int) -> _Shard:
    shard = files.files[number]
    found = _Shard(str(shard))
    with _explained(shard), open(path, "rb", buffering=0) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            key = f"{folder}/{base.rpartition('.')[0]}"
            if is_leftover(base) or not member.isreg():
                if member.islnk() or member.issym():
                    found.left_out["link(s)"] += 1
                elif not member.isdir():
                    note_leftover(base, False, found.left_out)
            elif IMAGE.search(base):
                name = f"{shard.relative_to(files.root).as_posix()}:{member.name}"
                image = (name, number, member.offset_data, member.size)
                if IMAGE.fullmatch(f".{extension}"):
                    found.add(f"{folder}/{stem}", image)
                else:
                    found.dotted.append((key, extension, image))
            elif base.lower().endswith((".cls", ".json")):
                content = os.pread(file.fileno(), member.size, member.offset_data)
                _read_label(found, key, content, f"{shard}:{member.name}")
            else:
                note_file(base, found.left_out, "member(s)")
        # tarfile takes a header that is cut off for the end, without a word.
        if os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends early, or is broken in the middle")
    found.sort_dotted()
    if spare := found.labels.keys() - found.images.keys() - {_until_dot(key) for key in found.images}:
        found.left_out["label(s) without an image"] += len(spare)
    if not found.images:
        rule = "members must be named KEY.png (or .jpg, .webp, ...)"
        raise UserError(f"no images in {shard}: {rule}; pack it again, or leave it out")
    return found


def _read_label(found: _Shard, key: str, content: bytes, name: str) -> None:
    """Note the label in a member KEY.cls, a whole number, or KEY.json, where it has one; the first is preferred."""
    if name.lower().endswith(".cls"):
        found.labels[key] = _label(content, name)
        return
    try:
        entry = json.loads(content)
    except ValueError:
        raise UserError(f"{name} is not JSON: pack it again, or leave it out") from None
    called = named(LABEL_NAMES, entry) if isinstance(entry, dict) else None
    value = entry[called] if called else None
    if isinstance(value, str) and value:
        found.labels.setdefault(key, value)
    elif isinstance(value, (int, float)):
        found.labels.setdefault(key, _label(f"{value:g}".encode() if value % 1 else b"%d" % value, name))
    else:
        found.left_out[".json member(s) without a label"] += 1


def _label(text: bytes, name: str) -> int:
    try:
        label = int(text)
    except ValueError:
        label = -1
    if not 0 <= label < 2**63:
        shown = text[:20].decode("utf-8", "replace").strip()
        raise UserError(f"{name} must hold a whole number from 0, not {shown!r}: number the classes")
    return label
