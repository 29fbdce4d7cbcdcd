"""Labels in the forms that neighbours write: columns, keys and files beside the images."""

import csv
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from ...errors import UserError

LABEL_NAMES = (
    "label", "labels", "class", "classes", "cls", "class_id", "class_label", "class_name", "label_id", "category",
    "category_id", "target", "targets", "y",
)  # fmt: skip
"""what columns, keys and arrays of labels are called; earlier ones are preferred"""
LABEL_FILE = re.compile(r"((metadata|labels?)\.(csv|tsv|jsonl)|dataset\.json)$", re.IGNORECASE)
"""files of labels beside the images: those of Hugging Face's image folders, and that of StyleGAN and EDM"""
_FILE_NAMES = ("file_name", "filename", "file", "image", "path")
_FEW = 10  # different texts that are classes, however few images there are


def named(wanted: Sequence[str], names: Iterable[str]) -> str | None:
    """Return the first wanted name that there is, in any case."""
    lowered = {name.lower(): name for name in names}
    return next((lowered[name] for name in wanted if name in lowered), None)


def check_labels(path: Path, labels: np.ndarray, count: int) -> Int64[np.ndarray, "n"]:
    """Return labels as int64 [count], if they are whole numbers from 0, one for each image."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise UserError(f"{path}: labels must be one whole number an image, [{count}], not {list(labels.shape)}")
    numeric = labels.dtype.kind in "iuf" and np.isfinite(labels).all()
    if not numeric or (labels != np.rint(labels)).any() or (labels < 0).any():
        raise UserError(f"{path}: labels must be whole numbers from 0 (classes 0, 1, 2, ...): number the classes so")
    return labels.astype(np.int64)


def _whole(value: Any) -> int | None:
    """Return a label as a whole number, also from a text such as 3 or 3.0; None for any other text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**63 else None


def numbered(path: Path, values: Sequence[Any]) -> tuple[Int64[np.ndarray, "n"] | None, tuple[str, ...], str]:
    """Return labels as numbers, the names of the classes, and why there are none.

    Whole numbers are the classes themselves; other texts are sorted, and are the classes' names.
    """
    whole = [_whole(value) for value in values]
    if None not in whole:
        return check_labels(path, np.array(whole, np.int64), len(values)), (), ""
    names, numbers = np.unique([str(value) for value in values], return_inverse=True)
    if len(names) > max(_FEW, len(values) // 2):
        return None, (), f"the {len(names):,} different labels in {path.name} are not used as classes"
    return numbers.astype(np.int64), tuple(names.tolist()), ""


def read_label_files(paths: Sequence[Path], images: Sequence[Path]) -> tuple[list[Any] | None, list[str], str]:
    """Return the label of each image, if files beside the images have labels; remarks; and the names of the files."""
    found: dict[str, Any] = {}
    remarks, sources = [], []
    for path in paths:
        try:
            held, trouble = _of_dataset(path) if path.suffix.lower() == ".json" else _of_table(path)
        except (ValueError, AttributeError, TypeError, csv.Error) as error:
            raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): repair it or move it away") from None
        if any(isinstance(label, (list, dict)) for label in held.values()):
            held, trouble = {}, f"labels in {path.name} are vectors, so they are not used as classes"
        places = {posixpath.normpath(f"{path.parent.as_posix()}/{name}"): label for name, label in held.items()}
        found |= places
        remarks += [trouble] * bool(trouble)
        sources += [path.name] * bool(held)
    wanted = [posixpath.normpath(image.as_posix()) for image in images]
    labels = [found.get(name) for name in wanted]
    known = sum(label is not None for label in labels)
    if missing := len(found) - len(found.keys() & set(wanted)):
        remarks.append(f"{' and '.join(sources)} names {missing:,} image{'s' * (missing > 1)} not found here")
    if 0 < known < len(images):
        bare = images[next(row for row, label in enumerate(labels) if label is None)]
        raise UserError(f"{bare} has no label in {sources[0]}, but other images have: add it, or move the file away")
    return labels if known else None, remarks, " and ".join(dict.fromkeys(sources))


def _of_dataset(path: Path) -> tuple[dict[str, Any], str]:
    """Return the labels by name of dataset.json: {"labels": [[name, label], ...]}, or null for none."""
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or "labels" not in content:
        return {}, f"{path.name} does not have labels"
    held = {name.replace("\\", "/"): label for name, label in dict(content["labels"] or {}).items()}
    return held, ""


def _of_table(path: Path) -> tuple[dict[str, Any], str]:
    """Return the labels by name of a table, in CSV, with tabs, or in lines of JSON."""
    text = path.read_text("utf-8-sig")
    rows: list[Mapping[str, Any]]
    if path.suffix.lower() == ".jsonl":
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        head = text.partition("\n")[0]
        rows = list(csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=head.count)))
    columns = list(dict.fromkeys(name for row in rows for name in row if name))
    file, label = named(_FILE_NAMES, columns), named(LABEL_NAMES, columns)
    if file is None or label is None:
        wanted = "images, such as file_name" if file is None else "labels, such as label"
        return {}, f"{path.name} has no column of {wanted} (its columns are {', '.join(columns) or 'none'})"
    held = {str(row.get(file)).replace("\\", "/"): row.get(label) for row in rows}
    filled = {name: value for name, value in held.items() if value not in (None, "")}
    return filled, "" if filled else f"the column {label} of {path.name} is empty"
