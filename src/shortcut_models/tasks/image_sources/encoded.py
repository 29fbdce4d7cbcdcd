"""Images that lie in files of their own, in a folder or in tar shards named as WebDataset does."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...errors import UserError
from .examples import Examples

_BLOCK = 512
"""bytes of a tar header; an archive ends with such a block of zeros"""


def list_folder(root: Path, files: tuple[Path, ...]) -> Examples:
    """Image files; the sorted names of the sub-folders are the classes."""
    names = [path.relative_to(root).as_posix() for path in files]
    tops = [name.split("/", 1)[0] for name in names if "/" in name]
    classes = tuple(sorted(set(tops)))
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[top] for top in tops], np.int64) if tops else None
    opened = lambda i: Image.open(io.BytesIO(files[i].read_bytes()))
    return Examples(root, names, opened, labels, len(classes), classes)


class _Member(NamedTuple):
    """Where the bytes of one image are: in a tar file that is not compressed."""

    path: Path
    name: str
    start: int
    size: int
    label: int | None = None

    def open(self) -> Image.Image:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return Image.open(io.BytesIO(file.read(self.size)))


@contextlib.contextmanager
def open_shards(root: Path, shards: tuple[Path, ...], suffixes: frozenset[str]) -> Iterator[Examples]:
    """The images of tar shards: KEY.png (or another suffix) and, for its label, KEY.cls.

    Compressed shards are unpacked for as long as this is open, as images are read from anywhere in them.
    """
    with tempfile.TemporaryDirectory(prefix="shortcut-models-") as scratch:
        members: list[_Member] = []
        for number, shard in enumerate(shards):
            plain = _unpacked(shard, Path(scratch) / f"{number}.tar")
            with _explained(shard):
                members += _index(plain, shard, shard.relative_to(root).as_posix(), suffixes)
        if not members:
            raise UserError(
                f"no images in {shards[0]}: members must be named KEY.png (or .jpg, .webp, ...), without a dot in KEY"
            )
        with_label = [member.label is not None for member in members]
        if any(with_label) and not all(with_label):
            bare = members[with_label.index(False)].name
            raise UserError(f"{root / bare} has no label (KEY.cls), but other images have: add it, or drop all labels")
        labels = np.array([member.label for member in members], np.int64) if all(with_label) else None
        classes = 0 if labels is None else int(labels.max()) + 1
        names = [member.name for member in members]
        yield Examples(root, names, lambda i: members[i].open(), labels, classes)


@contextlib.contextmanager
def _explained(shard: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{shard} is damaged or no tar file ({error}): copy or pack it again") from None


def _unpacked(shard: Path, scratch: Path) -> Path:
    """The shard itself, or a copy that is not compressed."""
    with open(shard, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return shard
    with _explained(shard), gzip.open(shard) as packed, open(scratch, "wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)
    return scratch


def _index(path: Path, shard: Path, shown: str, suffixes: frozenset[str]) -> Iterator[_Member]:
    """The images of a shard, in order, with their labels."""
    images: dict[str, _Member] = {}
    labels: dict[str, int] = {}
    with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            if not member.isreg() or not stem:
                continue
            key = f"{folder}/{stem}"
            if f".{extension.lower()}" in suffixes:
                if key in images:
                    raise UserError(f"{shard} holds two images of the key {stem}: keep one")
                images[key] = _Member(path, f"{shown}:{member.name}", member.offset_data, member.size)
            elif extension.lower() == "cls":
                file.seek(member.offset_data)
                labels[key] = _label(file.read(member.size), shard, member.name)
        # tarfile takes a header that is cut off for the end, without a word.
        file.seek(archive.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("it ends early, or is broken in the middle")
    for key, image in images.items():
        yield image._replace(label=labels.get(key))


def _label(text: bytes, shard: Path, name: str) -> int:
    try:
        label = int(text)
    except ValueError:
        label = -1
    if label < 0:
        shown = text[:20].decode("utf-8", "replace").strip()
        raise UserError(f"{shard}:{name} must hold a whole number from 0, not {shown!r}: number the classes")
    return label
