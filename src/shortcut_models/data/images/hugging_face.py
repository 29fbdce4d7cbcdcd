"""Tables of images as Hugging Face `datasets` keeps them: by name, saved to disk, or as Parquet files."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import UserError
from .examples import Examples
from .npz_idx import check_labels

PREFIX = "hf:"
"""what a name on the Hub, hf:NAME or hf:NAME:CONFIG, begins with"""
_ROWS_TOGETHER = 1024
"""rows of a table that are taken to be together on the disk"""


def is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` wrote a folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError("Hugging Face data needs an extra: pip install 'shortcut-models[datasets]'") from None
    return datasets


@functools.lru_cache(maxsize=4)
def open_splits(data: str) -> Mapping[str, Any]:
    """Open the tables of hf:NAME[:CONFIG] or of a folder that `save_to_disk` wrote, by split; "" is the only one.

    What is on the Hub is downloaded once.

    Raises:
        UserError: that or reading fails.
    """
    library = _library()
    name, _, config = data.removeprefix(PREFIX).partition(":")
    by_name = data.startswith(PREFIX)
    try:
        found = library.load_dataset(name, config or None) if by_name else library.load_from_disk(data)
    except Exception as error:  # it raises almost anything
        hint = "check the name and the connection" if by_name else "save it again"
        raise UserError(f"cannot load {data} ({_first_line(error)}): {hint}") from None
    return found if isinstance(found, dict) else {"": found}


@functools.lru_cache(maxsize=4)
def open_parquet(files: tuple[Path, ...]) -> Any:
    """Open the table of some Parquet files. Raise UserError where one is damaged."""
    library = _library()
    try:
        return library.Dataset.from_parquet([str(path) for path in files])
    except Exception as error:  # it raises almost anything
        raise UserError(f"{files[0]} or one beside it is damaged ({_first_line(error)}): copy it again") from None


def _first_line(error: BaseException) -> str:
    return f"{error}".strip().split("\n")[0] or type(error).__name__


def files_of(table: Any) -> tuple[Path, ...]:
    """Return the files that hold a table."""
    return tuple(Path(file["filename"]) for file in table.cache_files)


def hides_labels(table: Any) -> bool:
    """Return whether all labels are -1, as those of test sets that are kept secret."""
    column = _label_column(table)
    return column is not None and bool((_numbers(table, column) == -1).all())


def _numbers(table: Any, column: str) -> np.ndarray:
    return np.asarray(table.with_format("numpy")[column][:])


def _label_column(table: Any) -> str | None:
    """Return the column called label, or the column of (most) classes, or whole numbers so called."""
    library, features = _library(), table.features
    kinds = {name: kind for name, kind in features.items() if isinstance(kind, library.ClassLabel)}
    for name in ("label", "labels"):
        whole = getattr(features.get(name), "dtype", "").lstrip("u").startswith("int")
        if name in kinds or (whole and not kinds):
            return name
    return max(kinds, key=lambda name: kinds[name].num_classes, default=None)


def _image_column(root: Path, table: Any) -> str:
    """Return the one column of images: of that type, or with the bytes of files. Raise UserError without one."""
    library = _library()
    found = [
        name
        for name, kind in table.features.items()
        if isinstance(kind, library.Image) or (isinstance(kind, dict) and "bytes" in kind)
    ]
    if len(found) != 1:
        raise UserError(
            f"{root} must have one column of images, not {len(found)}; its columns are "
            f"{', '.join(table.features)}: keep one"
        )
    return found[0]


@dataclass(frozen=True)
class _Cells:
    """The images of a table's column, as the bytes of files."""

    table: Any
    column: str

    def open(self, row: int) -> Image.Image:
        cell = self.table[row][self.column]
        if cell is None:
            raise ValueError("the cell is empty")
        content = cell["bytes"]
        return Image.open(io.BytesIO(Path(cell["path"]).read_bytes() if content is None else content))


def read_table(root: Path, split: str, table: Any) -> Examples:
    """Return the images of a table. Raise UserError for one without images, or with labels that make no sense."""
    column, label = _image_column(root, table), _label_column(table)
    kind = table.features[column]
    cells = table.select_columns([column])
    if not isinstance(kind, dict):
        cells = cells.cast_column(column, type(kind)(decode=False))
    numbers = None if label is None else _numbers(table, label)
    if numbers is not None and len(numbers) and (numbers == -1).all():
        numbers = None
    labels = None if numbers is None else check_labels(root, numbers, len(table))
    names = () if label is None or labels is None else tuple(getattr(table.features[label], "names", None) or ())
    classes = 0 if labels is None else len(names) or int(labels.max(initial=-1)) + 1
    rows = [f"{split or 'all'}[{row}]" for row in range(len(table))]
    blocks = np.arange(len(table)) // _ROWS_TOGETHER
    return Examples(root, rows, _Cells(cells, column).open, labels, classes, names, blocks)
