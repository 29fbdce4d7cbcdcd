"""Classes from the names of folders: those on disk, and those that the members of tar shards are in."""

import itertools
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

_BUCKET_DIGITS = 4  # in the name of a folder that may be a bucket of images, such as 00000
Classes = tuple[Int64[np.ndarray, "n"] | None, tuple[str, ...], str]
"""the class of each image, the names of the classes, and what a reader should know, or why there are none"""


def folder_classes(names: Sequence[str], label_files: Sequence[Path] = ()) -> Classes:
    """Return the sorted names of the top folders as classes, if the images are in folders that are classes."""
    tops = [name.split("/", 1)[0] for name in names if "/" in name]
    if not tops:
        return None, (), ""
    if reason := _buckets(names, label_files):
        return None, (), reason
    found, numbers = np.unique(tops, return_inverse=True)
    folders: list[str] = found.tolist()
    return numbers.astype(np.int64), tuple(folders), _odd_names(folders)


def member_classes(paths: Sequence[str]) -> Classes:
    """Return the classes that the folders of members are, below the one that holds all of them."""
    common, names = below_common(paths)
    tops = sorted({name.split("/", 1)[0] for name in names if "/" in name})
    stray = next((name for name in names if "/" not in name), None)
    if not tops:
        return None, (), f"the only folder in the shards, {common}, is not used as a class" if common else ""
    if stray is not None:
        first = ", ".join(tops[:2]) + ", ..." * (len(tops) > 2)
        return None, (), f"folders in the shards ({first}) are not used as classes, as {stray} is in none of them"
    if 2 * len(tops) > len(names):
        return None, (), f"the {len(tops):,} folders of the {len(names):,} images are not used as classes"
    return folder_classes(names)


def split_path(member: str) -> list[str]:
    """Return the parts of a member's path, without the "." of ./cat/1.png."""
    return [part for part in member.split("/") if part not in ("", ".", "..")]


def below_common(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Return the deepest folder that holds all members, and their paths from there."""
    common = posixpath.commonpath({posixpath.dirname(path) for path in paths})
    start = len(common) + 1 if common else 0
    return common, [path[start:] for path in paths]


def _buckets(names: Sequence[str], label_files: Sequence[Path]) -> str:
    """Return why folders such as 00000, 00001 are not classes: one number runs on through the images of all."""
    numbers: dict[str, list[int]] = {}
    for name in names:
        folder, *_, last = name.split("/")
        digits = re.findall(r"\d+", last.rpartition(".")[0] or last)
        if not folder.isdecimal() or len(folder) < _BUCKET_DIGITS or not digits:
            return ""
        numbers.setdefault(folder, []).append(int(digits[-1]))
    ordered = [numbers[folder] for folder in sorted(numbers)]
    run_on = len(ordered) > 1 and all(max(a) < min(b) for a, b in itertools.pairwise(ordered))
    if not run_on and not any(path.name.lower() == "dataset.json" for path in label_files):
        return ""
    first = ", ".join(sorted(numbers)[:2])
    return (
        f"the folders {first}, ... number the images in turn, so they are not used as classes: rename them if they are"
    )


def _odd_names(folders: list[str]) -> str:
    """Return what a reader of class numbers should know of folders that are called by numbers."""
    if not all(name.isdecimal() for name in folders):
        return ""
    if len(folders) > 1 and all(len(name) >= _BUCKET_DIGITS for name in folders):
        first = ", ".join(folders[:2])
        return f"the classes are the folders {first}, ...: pass --task.classes 0 if they are not classes"
    if (by_number := sorted(folders, key=int)) != folders:
        odd = next(number for number, name in enumerate(folders) if name != by_number[number])
        return f"class folders are sorted as text, so class {odd} is the folder {folders[odd]}"
    return ""
