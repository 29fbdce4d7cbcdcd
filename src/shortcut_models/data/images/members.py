"""What a tar shard that is named as WebDataset does holds: images and labels, by key."""

import contextlib
import gzip
import json
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from .class_names import split_path
from .examples import ImageFiles
from .labels import LABEL_FILE, LABEL_NAMES, named
from .notes import IMAGE, is_leftover, note_file, note_leftover

Member = tuple[str, int, int, int]  # name, number of the shard, where its bytes start, their count
Label = int | str | None


def member_name(files: ImageFiles, shard: Path, member: str) -> str:
    return f"{shard.relative_to(files.root).as_posix()}:{member}"


@contextlib.contextmanager
def explained(shard: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{shard} is damaged or not a tar file ({error}): copy or pack it again") from None


class Shard:
    """What a shard holds, by key: the folder of a member, and its name up to the suffix."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.images: dict[str, Member] = {}
        self.labels: dict[str, Label] = {}
        self.left_out: Counter[str] = Counter()
        self.passed_over: set[str] = set()  # folders that systems leave behind
        self.label_files: set[str] = set()
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


def scan(files: ImageFiles, path: Path, number: int) -> Shard:
    shard = files.files[number]
    found = Shard(str(shard))
    with explained(shard), open(path, "rb", buffering=0) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            key = f"{folder}/{base.rpartition('.')[0]}"
            folders = split_path(member.name if member.isdir() else folder)
            leftover = next((depth for depth, name in enumerate(folders, 1) if is_leftover(name)), 0)
            if leftover:
                found.passed_over.add("/".join(folders[:leftover]))
            elif is_leftover(base) or not member.isreg():
                if member.islnk() or member.issym():
                    found.left_out["link(s)"] += 1
                elif not member.isdir():
                    note_leftover(base, False, found.left_out)
            elif IMAGE.search(base):
                image = (member_name(files, shard, member.name), number, member.offset_data, member.size)
                if IMAGE.fullmatch(f".{extension}"):
                    found.add(f"{folder}/{stem}", image)
                else:
                    found.dotted.append((key, extension, image))
            elif LABEL_FILE.fullmatch(base):
                found.label_files.add(base)
                note_file(base, found.left_out, "member(s)")
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
        rule += ", in folders that are not hidden" * bool(found.passed_over)
        raise UserError(f"no images in {shard}: {rule}; pack it again, or leave it out")
    return found


def _read_label(found: Shard, key: str, content: bytes, name: str) -> None:
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
