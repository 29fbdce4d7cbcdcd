"""Which files a path means, and which of them are to train on and which are held out."""

import glob
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from braceexpand import braceexpand

from ...errors import UserError
from .examples import ImageFiles, Kind
from .hugging_face import PREFIX, hides_labels, is_saved, open_tables
from .labels import LABEL_FILE
from .notes import IMAGE, Notes, is_image, is_leftover, note_file, note_leftover
from .npz_idx import npz_splits
from .shards import top_folders

T = TypeVar("T")
ACCEPTED = "a folder of images, tar shards, an .npz file, MNIST-style idx files or hf:NAME"
_KINDS: dict[Kind, tuple[str, re.Pattern[str]]] = {
    "folder": ("images", IMAGE),
    "tar": ("tar shards", re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)),
    "idx": ("idx files", re.compile(r"images([-_.])idx[34]-ubyte(\.gz)?$", re.IGNORECASE)),
    "npz": (".npz files", re.compile(r"\.npz$", re.IGNORECASE)),
    "parquet": ("Parquet files", re.compile(r"\.parquet$", re.IGNORECASE)),
}
"""kinds of files: what messages call them, and what their names end in"""
_WORDS = r"(?P<train>train(?:ing)?)|(?P<test>test(?:ing)?|t10k)|(?P<val>val(?:id(?:ation)?)?)"
_SPLIT = re.compile(rf"(?<![a-z])(?:{_WORDS})(?![a-z])", re.IGNORECASE)
"""a word in the name of a file, a folder or a table that says what it is for"""


def find_splits(data: str) -> dict[str, ImageFiles]:
    """Return {"train": files} and, where the data has a held-out part, {"test": files}, or raise UserError."""
    found = _find(data)
    return _inside(found["train"], data) if set(found) == {"train"} and found["train"].kind == "tar" else found


def _find(data: str) -> dict[str, ImageFiles]:
    path = Path(data)
    if data.startswith(PREFIX) or is_saved(path):
        return _tables(data)
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return _file(path)
    if any(sign in data for sign in "*?[{"):
        return _pattern(data)
    raise UserError(f"{data} does not exist: choose {ACCEPTED}")


def _file(path: Path) -> dict[str, ImageFiles]:
    kind = next((kind for kind, (_, pattern) in _KINDS.items() if pattern.search(path.name)), None)
    if kind == "npz":
        return _npz(path)
    if kind == "folder":
        raise UserError(f"{path} is a single image: choose the folder that holds the images")
    if kind is not None:
        return {"train": _files(kind, path.parent, [path])}
    if path.suffix.lower() in {".zip", ".7z", ".rar"}:
        raise UserError(f"{path} is an archive that is not read: unpack it and choose the folder")
    raise UserError(f"{path} is of a type that is not read: choose {ACCEPTED}")


def _files(kind: Kind, folder: Path, paths: list[Path], inner: str = "") -> ImageFiles:
    """Return files of a kind; with the images of an idx file come the labels beside it, each compressed or not."""
    if kind == "idx":
        labels = _KINDS["idx"][1].sub(r"labels\1idx1-ubyte", paths[0].name)
        beside = [paths[0].with_name(labels + end) for end in ("", ".gz")]
        paths = [*paths, *[path for path in beside if path.exists()][:1]]
    return ImageFiles(kind, folder, tuple(paths), inner)


def _npz(path: Path) -> dict[str, ImageFiles]:
    return {split: _files("npz", path.parent, [path], word) for split, word in npz_splits(path).items()}


def _tables(data: str) -> dict[str, ImageFiles]:
    tables = open_tables(data)
    named = {word: name for name in tables if (word := _word(_SPLIT.fullmatch(name)))}
    if len(tables) == 1:
        named = {"train": next(iter(tables))}
    files = {name: [Path(file["filename"]) for file in table.cache_files] for name, table in tables.items()}
    found = _choose(named, data, lambda name, _: _files("table", Path(data), files[name], name))
    unused = [f"the part {name} is not used" for name in tables if name not in named.values()]
    return found | {"train": _noted(found["train"], Notes(remarks=tuple(unused)))}


def _pattern(pattern: str) -> dict[str, ImageFiles]:
    """Return the shards that a pattern such as shards/{000..003}.tar or shards/*.tar names."""
    try:
        names = list(braceexpand(pattern, escape=False))
    except ValueError:  # a brace without its pair
        names = [pattern]
    paths: set[Path] = set()
    for name in names:
        if not (found := glob.glob(name)):
            raise UserError(f"no file matches {name}: choose a pattern of tar shards that are there")
        paths.update(map(Path, found))
    for path in sorted(paths):
        if not _KINDS["tar"][1].search(path.name):
            raise UserError(f"{path} is not a tar file: a pattern must match tar shards only (or pass the folder)")
    return {"train": _files("tar", Path(os.path.commonpath([path.parent for path in paths])), sorted(paths))}


def _inside(shards: ImageFiles, data: str) -> dict[str, ImageFiles]:
    """Return the splits of shards: folders named train and test inside them, or all as "train"."""
    common, folders, images, notes = top_folders(shards)
    named = {word: name for name in folders if (word := _word(_SPLIT.fullmatch(name)))}
    beside = [name for name in folders if name not in named.values()] + images
    if not named or (beside and not named.keys() > {"train"}):
        return {"train": shards}
    if beside:
        raise UserError(f"{data} holds {' and '.join(named)}, but also {beside[0]}: pack it without that")
    found = _choose(named, data, lambda name, _: replace(shards, inner=f"{common}/{name}".lstrip("/"), notes=Notes()))
    return found | {"train": _noted(found["train"], shards.notes + notes)}


def _word(match: re.Match[str] | None) -> str:
    return (match and match.lastgroup) or ""


def _visible(folder: Path, left_out: Counter[str] | None = None) -> tuple[list[Path], list[Path]]:
    """Return (sub-folders, files) of a folder, sorted, without hidden ones and leftovers of systems; count those."""
    left_out = Counter() if left_out is None else left_out
    folders, files = [], []
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = Path(entry.path)
        # Of a path, as an entry raises an error for a link to itself.
        is_folder = path.is_dir() if entry.is_symlink() else entry.is_dir()
        if is_leftover(entry.name):
            note_leftover(entry.name, is_folder, left_out)
        elif is_folder:
            folders.append(path)
        elif (path.is_file() or not path.exists()) if entry.is_symlink() else entry.is_file():
            files.append(path)  # a link that leads nowhere is a damaged image
        else:
            left_out["special file(s)"] += 1  # reading a pipe would wait for ever
    return folders, files


def _walk(folder: Path, left_out: Counter[str], above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield all visible image files below a folder, sorted, and files of labels; count all others.

    A link that leads back up is not followed again.
    """
    real = os.path.realpath(folder)
    if real not in above:
        folders, files = _visible(folder, left_out)
        for path in files:
            if is_image(path) or LABEL_FILE.fullmatch(path.name):
                yield path
            else:
                note_file(path.name, left_out)
        for inner in folders:
            yield from _walk(inner, left_out, above | {real})


def _folder(folder: Path) -> dict[str, ImageFiles]:
    """Return the splits of a folder: train and test sub-folders, or what it holds itself."""
    folders, files = _visible(folder)
    if [path.name for path in folders] == ["data"] and any(folders[0].glob("*.parquet")):
        return _contents(folders[0])  # as repositories on the Hub are laid out
    named = {word: path for path in folders if (word := _word(_SPLIT.fullmatch(path.name)))}
    others = [path for path in folders if path not in named.values()]
    # "train" is also a vehicle: beside folders of other names it is a class, unless a test folder is there too.
    if not named or (others and not named.keys() > {"train"}):
        return _contents(folder)
    beside = others + [path for path in files if is_image(path)]
    if beside:
        raise UserError(f"{folder} holds {' and '.join(named)}, but also {beside[0].name}: move that away or into one")
    shared = tuple(path for path in files if LABEL_FILE.fullmatch(path.name))
    found = _choose(named, folder, lambda path, _: _contents(path, by_name=False)["train"])
    left_out: Counter[str] = Counter()
    for path in set(files) - set(shared):
        note_file(path.name, left_out)
    with_shared = {split: replace(part, label_files=shared + part.label_files) for split, part in found.items()}
    return with_shared | {"train": _noted(with_shared["train"], Notes(dict(left_out)))}


def _noted(files: ImageFiles, notes: Notes) -> ImageFiles:
    return replace(files, notes=files.notes + notes)


def _choose(named: Mapping[str, T], where: Path | str, files: Callable[[T, str], ImageFiles]) -> dict[str, ImageFiles]:
    """Return the files of train and of test, or of val if there is no test, or its labels are secret."""
    if "train" not in named:
        held = " and ".join(named) or "parts of other names"
        raise UserError(f"{where} holds {held}, but no train part: add one, or name a part in --data")
    splits = {"train": files(named["train"], "train")}
    held_out = [named[word] for word in ("test", "val") if word in named]
    if held_out:
        splits["test"] = files(held_out[0], "test")
    if len(held_out) > 1 and hides_labels(splits["test"]):
        splits["test"] = files(held_out[1], "test")
        return splits | {"train": _noted(splits["train"], Notes(remarks=("the test part has no labels: val is used",)))}
    unused = Notes(remarks=("the val part is not used",) * (len(held_out) > 1))
    return splits | {"train": _noted(splits["train"], unused)}


def _by_name(paths: list[Path]) -> dict[str, list[Path]]:
    """Return files by the word train, test or val in their names; all to train on where none has such a word."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        found[_word(_SPLIT.search(path.name))].append(path)
    if set(found) == {""}:
        return {"train": paths}
    if "" in found:
        raise UserError(f"{found[''][0]} is named neither train nor test, as others beside it are: rename or move it")
    return found


def _contents(folder: Path, *, by_name: bool = True) -> dict[str, ImageFiles]:
    """Return the splits of a folder of one kind of file, by their names, or else all as "train"."""
    _, files = _visible(folder)
    found = {kind: [path for path in files if name.search(path.name)] for kind, (_, name) in _KINDS.items()}
    # A file that was unpacked beside its .gz is read once.
    idx = found["idx"]
    found["idx"] = [path for path in idx if path.suffix.lower() != ".gz" or path.with_suffix("") not in idx]
    left_out: Counter[str] = Counter()
    walked = list(_walk(folder, left_out))
    labels = [path for path in walked if LABEL_FILE.fullmatch(path.name)]
    found["folder"] = [path for path in walked if not LABEL_FILE.fullmatch(path.name)]
    kinds = [kind for kind, paths in found.items() if paths]
    held = [_KINDS[kind][0] for kind in kinds]
    if not kinds:
        types = sorted({path.suffix.lower() for path in files if path.suffix})
        seen = f" (it has {', '.join(types[:4])} files)" if types else ""
        raise UserError(f"no images in {folder}{seen}: choose {ACCEPTED}")
    if len(kinds) > 1:
        name = f"pass --data '{folder}/*.tar' for the shards" if "tar" in kinds else "name the other in --data"
        raise UserError(f"{folder} holds {held[0]} and {held[1]}: move one kind away, or {name}")
    (kind,) = kinds
    if kind == "folder":
        stray = [path.name for path in found[kind] if path.parent == folder]
        if 0 < len(stray) < len(found[kind]):
            held_too = f"images such as {stray[0]}: move those into a class"
            raise UserError(f"{folder} holds class folders, but also {held_too}")
        part = replace(_files(kind, folder, found[kind]), label_files=tuple(labels), notes=Notes(dict(left_out)))
        return {"train": part}

    def files_of_split(paths: list[Path], split: str) -> ImageFiles:
        if kind in ("idx", "npz") and len(paths) > 1:
            names = " and ".join(path.name for path in paths[:2])
            raise UserError(f"{folder} holds several {held[0]}, {names}: name one in --data")
        return _files(kind, folder, paths, split if kind == "parquet" else "")

    splits = _choose(_by_name(found[kind]) if by_name else {"train": found[kind]}, folder, files_of_split)
    if kind == "npz" and len(splits) == 1:
        splits = _npz(found[kind][0])
    used = {path for part in splits.values() for path in part.files} | set(found[kind])
    return splits | {"train": _noted(splits["train"], Notes(_others(folder, used)))}


def _others(folder: Path, used: set[Path]) -> dict[str, int]:
    """Count what a folder holds beside shards, arrays or tables, and not the packed form of what is used."""
    left_out: Counter[str] = Counter()
    folders, files = _visible(folder, left_out)
    for path in files:
        if path not in used and path.with_suffix("") not in used:
            note_file(path.name, left_out)
    return dict(left_out + Counter({"sub-folder(s)": len(folders)}))
