"""Which files a path means, and which of them are to train on and which are held out."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...errors import UserError
from . import hugging_face
from .npz_idx import npz_splits

ACCEPTED = "a folder of images, tar shards, an .npz file, MNIST-style idx files or hf:NAME"
Named = TypeVar("Named")
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif"}
)
_SHARD = re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)
_PARQUET = re.compile(r"\.parquet$", re.IGNORECASE)
_IDX = re.compile(r"images[-_.]idx[34]-ubyte(\.gz)?$", re.IGNORECASE)
_WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "t10k": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
_WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """Files of one format that are read together."""

    kind: Literal["folder", "tar", "npz", "idx", "table", "parquet"]
    root: Path
    """the folder that names start from"""
    files: tuple[Path, ...]
    """all that is read, sorted; of idx files: images, then labels if there are any"""
    inner: str = ""
    """the split inside an .npz file or a table of Hugging Face that holds several"""


def find_parts(data: str) -> dict[str, Part]:
    """Return {"train": ...} and, where the data has a held-out part of its own, {"test": ...}.

    Raises:
        UserError: the path is nothing that is read here, or can be read in two ways.
        OSError: the system does not let us read it.
    """
    path = Path(data)
    if data.startswith(hugging_face.PREFIX) or hugging_face.is_saved(path):
        return _tables(data)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return _file(path)
    if any(sign in data for sign in "*?[{"):
        return {"train": _shards(_matches(data))}
    raise UserError(f"{data} does not exist: pass --data with {ACCEPTED}")


def _file(path: Path) -> dict[str, Part]:
    suffix = path.suffix.lower()
    if _SHARD.search(path.name):
        return {"train": _shards([path])}
    if _IDX.search(path.name):
        return {"train": _idx(path)}
    if suffix == ".npz":
        return _npz(path)
    if _PARQUET.search(path.name):
        return {"train": Part("parquet", path.parent, (path,))}
    if suffix in IMAGE_SUFFIXES:
        raise UserError(f"{path} is a single image: pass --data with the folder that holds the images")
    if suffix in {".zip", ".7z", ".rar"}:
        raise UserError(f"{path} is an archive that is not read: unpack it and pass --data with the folder")
    raise UserError(f"{path} is of a type that is not read: pass --data with {ACCEPTED}")


def _shards(paths: list[Path]) -> Part:
    return Part("tar", Path(os.path.commonpath([path.parent for path in paths])), tuple(sorted(paths)))


def _npz(path: Path) -> dict[str, Part]:
    inner = npz_splits(path)
    return {split: Part("npz", path.parent, (path,), name) for split, name in inner.items()}


def _idx(images: Path) -> Part:
    """Return the images of an idx file and the labels beside it, each compressed or not."""
    bare = re.sub(r"\.gz$", "", images.name, flags=re.IGNORECASE)
    start = bare.lower().rindex("images")
    labels = bare[:start] + "labels" + re.sub(r"idx[34]", "idx1", bare[start + len("images") :])
    beside = [path for path in (images.with_name(labels), images.with_name(labels + ".gz")) if path.exists()]
    return Part("idx", images.parent, (images, *beside[:1]))


def _tables(data: str) -> dict[str, Part]:
    """Return the parts of tables of Hugging Face."""
    tables = hugging_face.open_splits(data)
    named = {_WORDS[name.lower()]: name for name in tables if name.lower() in _WORDS}
    if len(tables) == 1:
        named = {"train": next(iter(tables))}
    _need_train(named, data)
    chosen = _chosen(named, lambda name: hugging_face.hides_labels(tables[name]))
    files = {name: hugging_face.files_of(tables[name]) for name in chosen.values()}
    return {split: Part("table", Path(data), files[name], name) for split, name in chosen.items()}


def expand_braces(pattern: str) -> list[str]:
    """Return the names that shards/{000..003}.tar or {a,b}.tar stands for, in order."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        first, last = numbers.groups()
        words = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        words = found[1].split(",")
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [name for word in words for name in expand_braces(head + word + tail)]


def _matches(pattern: str) -> list[Path]:
    """Return the shards that a pattern names. Raise UserError where one is missing or is not a tar file."""
    paths = []
    for name in expand_braces(pattern):
        hits = glob.glob(name)
        if not hits:
            raise UserError(f"no file matches {name}: pass --data with a pattern of tar shards that are there")
        paths += [Path(hit) for hit in hits]
    for path in paths:
        if not _SHARD.search(path.name):
            raise UserError(f"{path} is not a tar file: a pattern must match tar shards only (or pass the folder)")
    if not paths:
        raise UserError(f"{pattern} names no file: pass --data with a pattern of tar shards")
    return sorted(set(paths))


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return (sub-folders, files) of a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        shown = sorted(
            (entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"),
            key=lambda entry: entry.name,
        )
        return [Path(e.path) for e in shown if e.is_dir()], [Path(e.path) for e in shown if not e.is_dir()]


def _walk(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield all visible image files below a folder, sorted; a link that leads back up is not followed again."""
    real = os.path.realpath(folder)
    if real in above:
        return
    folders, files = _visible(folder)
    yield from (path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
    for inner in folders:
        yield from _walk(inner, above | {real})


def _folder(folder: Path) -> dict[str, Part]:
    """Return the parts of a folder: train and test sub-folders, or what it holds itself."""
    folders, files = _visible(folder)
    if [path.name for path in folders] == ["data"] and any(folders[0].glob("*.parquet")):
        return _contents(folders[0], by_name=True)  # as repositories on the Hub are laid out
    named = {_WORDS[path.name.lower()]: path for path in folders if path.name.lower() in _WORDS}
    others = [path.name for path in folders if path not in named.values()]
    # "train" is also a vehicle: beside folders of other names it is a class, unless a test folder is there too.
    if not named or (others and not ("train" in named and len(named) > 1)):
        return _contents(folder, by_name=True)
    beside = others + [path.name for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if beside:
        raise UserError(f"{folder} holds {' and '.join(named)}, but also {beside[0]}: move that away or into one")
    _need_train(named, folder)
    parts = {}
    for split, path in _chosen(named, lambda inner: _hide_labels(_visible(inner)[1])).items():
        parts[split] = _contents(path, by_name=False)["train"]
    return parts


def _need_train(named: Mapping[str, Any], folder: Path | str) -> None:
    if "train" not in named:
        held = " and ".join(named) or "parts of other names"
        raise UserError(f"{folder} holds {held}, but no train part: add one, or name a part in --data")


def _chosen(named: Mapping[str, Named], hides_labels: Callable[[Named], bool]) -> dict[str, Named]:
    """Return train and, of test and val, the first that is there, as "test"; one with secret labels comes last."""
    held_out = named.get("test", named.get("val"))
    if {"test", "val"} <= set(named) and hides_labels(named["test"]):
        held_out = named["val"]
    return {"train": named["train"]} | ({} if held_out is None else {"test": held_out})


def _hide_labels(files: list[Path]) -> bool:
    """Return whether files are a table in Parquet whose labels are kept secret."""
    tables = tuple(path for path in files if _PARQUET.search(path.name))
    return bool(tables) and hugging_face.hides_labels(hugging_face.open_parquet(tables))


def _by_name(files: list[Path], folder: Path) -> dict[str, list[Path]]:
    """Return files by the word train, test or val in their names; all to train on where none has such a word."""
    found: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        word = _WORD.search(file.name)
        found[_WORDS[word[1].lower()] if word else ""].append(file)
    if set(found) == {""}:
        return {"train": files}
    if "" in found:
        raise UserError(f"{found[''][0]} is named neither train nor test, as others beside it are: rename or move it")
    _need_train(found, folder)
    return _chosen(found, _hide_labels)


def _contents(folder: Path, *, by_name: bool) -> dict[str, Part]:
    """Return the parts of a folder of one kind of file: by their names, or else all in "train"."""
    _, files = _visible(folder)
    images = tuple(_walk(folder))
    # A file that was unpacked beside its .gz is read once.
    idx = [path for path in files if _IDX.search(path.name)]
    idx = [path for path in idx if path.suffix.lower() != ".gz" or path.with_suffix("") not in idx]
    kinds: dict[str, list[Path]] = {
        "images": list(images),
        "tar shards": [path for path in files if _SHARD.search(path.name)],
        "idx files": idx,
        ".npz files": [path for path in files if path.suffix.lower() == ".npz"],
        "Parquet files": [path for path in files if _PARQUET.search(path.name)],
    }
    held = [kind for kind, paths in kinds.items() if paths]
    if not held:
        raise UserError(_nothing_in(folder, files))
    if len(held) > 1:
        raise UserError(f"{folder} holds {held[0]} and {held[1]}: move one kind away, or name the other in --data")
    if images:
        if len({path.parent == folder for path in images}) > 1:
            stray = next(path.name for path in images if path.parent == folder)
            raise UserError(f"{folder} holds class folders, but also images such as {stray}: move those into a class")
        return {"train": Part("folder", folder, images)}
    found = kinds[held[0]]
    groups = _by_name(found, folder) if by_name else {"train": found}
    if held[0] == "tar shards":
        return {split: _shards(paths) for split, paths in groups.items()}
    if held[0] == "Parquet files":
        return {split: Part("parquet", folder, tuple(paths), split) for split, paths in groups.items()}
    for paths in groups.values():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths[:2])
            raise UserError(f"{folder} holds several {held[0]}, {names}: name one in --data")
    if held[0] == "idx files":
        return {split: _idx(paths[0]) for split, paths in groups.items()}
    if len(groups) == 1:
        return _npz(groups["train"][0])
    return {split: Part("npz", folder, (paths[0],)) for split, paths in groups.items()}


def _nothing_in(folder: Path, files: list[Path]) -> str:
    types = sorted({path.suffix.lower() for path in files if path.suffix})
    seen = f" (it has {', '.join(types[:4])} files)" if types else ""
    return f"no images in {folder}{seen}: pass --data with {ACCEPTED}"
