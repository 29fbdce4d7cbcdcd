"""Reading columns of Parquet files as arrays."""

import glob
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import UserError
from .frames import import_extra

_COLOURS = ("1", "L", "P", "RGB", "YCbCr", "CMYK")  # modes of Pillow that become RGB without a loss of depth or opacity


def parquet_files(folder: Path) -> list[Path]:
    """Return all Parquet files below a folder, also in folders that are links, in the order of their names."""
    return sorted(folder / name for name in glob.glob("**/*.parquet", root_dir=folder, recursive=True))


class Columns:
    """Some columns of all Parquet files below a folder, in the order of the files' names."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        pyarrow = import_extra("pyarrow", "LeRobot data sets")
        from pyarrow import parquet

        self.folder, files = folder, parquet_files(folder)
        if not files:
            raise UserError(f"there are no .parquet files in {folder.name}: copy the data set again")
        tables = []
        for path in files:
            try:
                # Not read_table, which makes columns of folders with names such as a=b.
                table = parquet.ParquetFile(path).read(list(names))
            except pyarrow.ArrowNotImplementedError as error:  # a codec that this build does not have
                raise UserError(f"pyarrow cannot read {path.name} ({_line(error)}): write it with snappy") from None
            except (pyarrow.ArrowException, OSError) as error:
                raise UserError(f"{path.name} is damaged ({_line(error)}): copy it again") from None
            missing = [name for name in names if name not in table.column_names]
            if missing:
                raise UserError(
                    f"{folder.name}/{path.relative_to(folder)} lacks the column {missing[0]}: copy it again"
                )
            tables.append(table.select(list(names)))
        try:
            self.table = pyarrow.concat_tables(tables, promote_options="permissive")
        except pyarrow.ArrowException as error:
            raise UserError(
                f"the files of {folder.name} do not fit each other ({_line(error)}): copy the data set again"
            ) from None

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of one number per row, or raise UserError if rows hold more."""
        found = self.array(name)
        if found.shape[1:] not in ((1,), (0,)):
            raise UserError(f"the column {name} must hold one number in every row: copy the data set again")
        return found.reshape(len(self.table))

    def array(self, name: str) -> np.ndarray:
        """Return a column of numbers or of nested lists, flattened to [rows, size]; lists must have one length."""
        import pyarrow

        values: Any = self.table.column(name).combine_chunks()
        while isinstance(values, pyarrow.ExtensionArray) or _has_equal_lengths(values):
            values = values.storage if isinstance(values, pyarrow.ExtensionArray) else values.flatten()
        is_flat = not pyarrow.types.is_nested(values.type) and not values.null_count
        rows, flat = len(self.table), values.to_numpy(zero_copy_only=False) if is_flat else np.array(None)
        if flat.dtype == object or len(flat) % max(rows, 1):
            raise UserError(
                f"the column {name} must hold equally many numbers in every row: correct it, or leave it out"
            )
        return flat.reshape(rows, -1 if rows else 0)

    def image_files(self, name: str) -> list[Path]:
        """Return the files beside the table that hold images of a column."""
        import pyarrow
        from pyarrow import compute

        column = self.table.column(name)
        if not pyarrow.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
            return []
        paths = compute.struct_field(column, "path")
        if column.type.get_field_index("bytes") >= 0:
            paths = paths.filter(compute.struct_field(column, "bytes").is_null())
        files = (self.folder.parent / path for path in paths.drop_null().unique().to_pylist())
        return sorted(file for file in files if file.is_file())

    def image(self, name: str, row: int) -> np.ndarray:
        """Return an image [height, width, channels] of a column that holds encoded images."""
        cell = self.table.column(name)[row].as_py()
        try:
            content = cell["bytes"] if cell["bytes"] is not None else (self.folder.parent / cell["path"]).read_bytes()
            image = Image.open(io.BytesIO(content))
            image.load()
        except (TypeError, KeyError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(
                f"{name} of frame {row} cannot be read as an image ({error}): correct or remove it"
            ) from None
        opaque = image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
        if image.mode not in _COLOURS and not opaque:
            raise UserError(
                f"{name} of frame {row} has pixels of mode {image.mode}, which 8-bit RGB does not hold exactly: "
                f"convert it, or choose --task.observations without {name}"
            )
        return np.asarray(image.convert("RGB"))


def _has_equal_lengths(lists: Any) -> bool:
    """Return whether an array consists of lists of one length."""
    import pyarrow.compute

    kinds = pyarrow.ListArray, pyarrow.LargeListArray, pyarrow.FixedSizeListArray
    if lists.null_count or not isinstance(lists, kinds):
        return False
    return pyarrow.compute.count_distinct(pyarrow.compute.list_value_length(lists)).as_py() <= 1


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
