"""Tables of images as Hugging Face `datasets` keeps them: by name, saved to disk, or as Parquet files."""

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import UserError, first_line
from ...system.files import file_stamp
from .cache import cache_key
from .examples import Examples, ImageFiles, count_classes
from .labels import LABEL_NAMES, check_labels, named, numbered
from .notes import Notes

PREFIX = "hf:"  # what a name on the Hub, hf:NAME or hf:NAME:CONFIG, begins with
_BLOCK_ROWS = 1024  # rows of a table that are taken to be together on the disk


def is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


@functools.lru_cache(maxsize=4)
def open_tables(data: str | tuple[Path, ...]) -> Mapping[str, Any]:
    """Return the tables of hf:NAME[:CONFIG], a folder or Parquet files, by split; "" is the split of one alone."""
    try:
        import datasets
    except ImportError:
        raise UserError("Hugging Face data needs an extra: pip install 'shortcut-models[datasets]'") from None
    where, hint, verbosity = data, "save it again", datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it logs before it raises is in the error
    try:
        if isinstance(data, tuple):
            where, hint = f"{data[0]} or one beside it", "a file is damaged, copy it again"
            # Its own cache knows files by their times, which a copy may keep.
            stamps = cache_key([(str(path), *file_stamp(path)) for path in data])
            cache = Path(datasets.config.HF_DATASETS_CACHE) / "shortcut-models" / stamps
            found = datasets.Dataset.from_parquet([str(path) for path in data], cache_dir=str(cache))
        elif data.startswith(PREFIX):
            hint = "check the name and the connection"
            name, _, config = data.removeprefix(PREFIX).partition(":")
            found = datasets.load_dataset(name, config or None)
        else:
            found = datasets.load_from_disk(data)
    except Exception as error:  # it raises almost anything
        raise UserError(f"cannot load {where} ({first_line(error)}): {hint}") from None
    finally:
        datasets.logging.set_verbosity(verbosity)
    return found if isinstance(found, dict) else {"": found}


def _open(files: ImageFiles) -> Any:
    return open_tables(files.files)[""] if files.kind == "parquet" else open_tables(str(files.root))[files.inner]


def hides_labels(files: ImageFiles) -> bool:
    """Return whether these are a table whose labels are all -1, as those of test sets that are kept secret."""
    if files.kind not in ("parquet", "table"):
        return False
    _, numbers = _labels(_open(files))
    return numbers is not None and numbers.dtype.kind in "iu" and bool((numbers == -1).all())


def _labels(table: Any) -> tuple[str | None, np.ndarray | None]:
    column = _label_column(table)
    return column, None if column is None else np.asarray(table.with_format("numpy")[column][:])


def _label_column(table: Any) -> str | None:
    """Return the column of labels.

    It is called label or labels and holds classes or, without any of these, whole numbers; else it holds the most
    classes; else it has another name of labels, and holds whole numbers or texts.
    """
    from datasets import ClassLabel

    features = table.features
    classes = {name: kind.num_classes for name, kind in features.items() if isinstance(kind, ClassLabel)}
    kinds = {name: str(getattr(kind, "dtype", "")).lstrip("u") for name, kind in features.items()}
    for name in ("label", "labels"):
        if name in classes or (kinds.get(name, "").startswith("int") and not classes):
            return name
    scalar = [name for name, kind in kinds.items() if kind.startswith(("int", "string", "large_string", "bool"))]
    return max(classes, key=classes.__getitem__, default=None) or named(LABEL_NAMES, scalar)


def _image_column(root: Path, table: Any) -> str:
    import datasets

    is_image = lambda kind: isinstance(kind, datasets.Image) or (isinstance(kind, dict) and "bytes" in kind)
    found = [name for name, kind in table.features.items() if is_image(kind)]
    if len(found) != 1:
        names = ", ".join(table.features)
        raise UserError(f"{root} must have one column of images, not {len(found)}; its columns are {names}: keep one")
    return found[0]


def _open_cell(table: Any, column: str, row: int) -> Image.Image:
    cell = table[row][column]
    if cell is None:
        raise ValueError("the cell is empty")
    content = cell["bytes"]
    return Image.open(io.BytesIO(Path(cell["path"]).read_bytes() if content is None else content))


def read_table(files: ImageFiles) -> Examples:
    """Return the images of a table, and its labels unless all are -1."""
    table = _open(files)
    column = _image_column(files.root, table)
    kind = table.features[column]
    cells = table.select_columns([column])
    if not isinstance(kind, dict):
        cells = cells.cast_column(column, type(kind)(decode=False))
    label, numbers = _labels(table)
    labels, remarks = None, []
    names: tuple[str, ...] = ()
    if numbers is not None and len(numbers) and numbers.dtype.kind in "iu" and (numbers == -1).all():
        numbers = None
    elif numbers is not None and numbers.dtype.kind in "iu":
        labels = check_labels(files.root, numbers, len(table))
        names = tuple(getattr(table.features[label], "names", None) or ())
    elif numbers is not None:  # of texts
        labels, names, trouble = numbered(files.root, numbers.tolist())
        remarks += [trouble] * bool(trouble)
    others = [name for name in table.features if name not in (column, label)]
    if labels is None and others:
        remarks.append(f"no labels: the columns {', '.join(others[:8])} are not read")
    notes = Notes(remarks=tuple(remarks), labels=f"column {label}" if labels is not None else "")
    images = [f"{files.inner or 'all'}[{row}]" for row in range(len(table))]
    opened, blocks = functools.partial(_open_cell, cells, column), np.arange(len(table)) // _BLOCK_ROWS
    return Examples(files.root, images, opened, labels, len(names) or count_classes(labels), names, blocks, notes)
