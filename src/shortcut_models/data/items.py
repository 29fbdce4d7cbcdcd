"""Any data set of items, in memory or behind `__getitem__`, as batches of tensors. What is wrong names the item."""

import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from ..base import Batch
from ..batch import MASK
from ..errors import UserError
from .arrays import BatchDataset

DATA_KEYS = ("data", "x", "image", "images", "pixel_values", "input")  # of items that are dicts
LABEL, CONDITION = "label", "cond"  # names of what follows the data in an item that is a pair
ACCEPTED = "a Dataset with __len__ and __getitem__, a tensor, a NumPy array, or a tuple or dict of these"
Parts = dict[str, Any]  # of an item or of arrays, by name; the data's name is ""
DATA = ""


class Items:
    """A data set, read by rows: `parts` are raw values, `tensors` have been checked and stacked.

    Args:
        source: anything in `ACCEPTED`; items are a tensor, (data, label), (data, vector), (data, dict) or a dict.
        data_key: the entry of a dict that is the data; "": one of `DATA_KEYS`, or the only one.
        names: the conditions that are used; of tuples, the names of what follows the data. (): all.

    Raises:
        UserError: the source is empty, has no length, or cannot be read by rows.
    """

    def __init__(self, source: Any, data_key: str = "", names: Sequence[str] = ()) -> None:
        self.source, self.data_key, self.names = source, data_key, tuple(names)
        self.columns: Parts | None = None
        self._axes = 0  # of a label: one where its column is an array of all of them
        if isinstance(source, TensorDataset):
            source = source.tensors
        if isinstance(source, (Tensor, np.ndarray)):
            source = (source,)
        if isinstance(source, (tuple, Mapping)):
            self.columns = self._columns(source)
            self.count = len(self.columns[DATA])
        elif isinstance(source, (str, bytes, os.PathLike)):
            raise UserError(f"{source!r} is a path: open the data set first, or read a folder with tasks.Images")
        elif isinstance(source, IterableDataset) or not all(hasattr(source, n) for n in ("__len__", "__getitem__")):
            raise UserError(f"a {type(source).__name__} cannot be read by rows: pass {ACCEPTED}")
        else:
            self.count = len(source)
        if not self.count:
            raise UserError("the dataset is empty: add at least two items")

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int | None:
        """Bytes of all arrays; None where items are read one by one."""
        if self.columns is None:
            return None
        return sum(np.asarray(values).nbytes for values in self.columns.values())

    def _columns(self, source: Any) -> Parts:
        """Return the arrays of a tuple or a dict by name."""
        self._axes = 1
        found = self._split(source if isinstance(source, Mapping) or len(source) > 1 else source[0], "the dataset")
        for name, values in found.items():
            if not isinstance(values, (Tensor, np.ndarray)) or values.ndim == 0:
                what = f"{name or 'data'} is a {type(values).__name__}"
                raise UserError(f"in the dataset, {what}, not an array with a row for each example: pass {ACCEPTED}")
            if len(values) != len(found[DATA]):
                raise UserError(
                    f"the dataset has {len(found[DATA])} rows of data and {len(values)} of {name}: give both as many"
                )
        return found

    def _split(self, item: Any, where: str) -> Parts:
        """Return the data and the conditions of an item, or of all items in arrays."""
        if isinstance(item, Mapping):
            return self._split_dict(item, where)
        if not isinstance(item, (tuple, list)) or (isinstance(item, list) and not _has_parts(item)):
            return {DATA: item}
        data, *rest = item
        if not rest:
            return {DATA: data}
        if isinstance(rest[0], Mapping) and len(rest) == 1:
            return {DATA: data} | self._named(dict(rest[0]), where)
        names = self.names
        if not names and len(rest) == 1:
            names = (LABEL if _is_label(rest[0], self._axes) else CONDITION,)
        if len(names) != len(rest):
            raise UserError(
                f"{where} has {len(rest)} parts after its data, and condition_names {len(names)}: name each, as in "
                f"condition_names=('label', 'state')"
            )
        return {DATA: data, **dict(zip(names, rest, strict=True))}

    def _split_dict(self, item: Mapping[str, Any], where: str) -> Parts:
        rest, keys = dict(item), [key for key in DATA_KEYS if key in item]
        key = self.data_key or (keys[0] if keys else next(iter(rest)) if len(rest) == 1 else "")
        if key not in rest:
            listed = ", ".join(map(str, rest)) or "nothing"
            missing = f"{where} has no {key!r} among {listed}" if key else f"{where} has {listed}, and none is data"
            raise UserError(f"{missing}: name the data with data_key='...'")
        return {DATA: rest.pop(key)} | self._named(rest, where)

    def _named(self, rest: Parts, where: str) -> Parts:
        missing = [name for name in self.names if name not in rest]
        if missing:
            raise UserError(f"{where} has no {missing[0]!r} among {', '.join(map(str, rest)) or 'nothing'}: add it")
        return {name: rest[name] for name in self.names} if self.names else rest

    def values_of(self, name: str) -> set[int]:
        """Return the whole numbers in a column of arrays."""
        assert self.columns is not None
        return set(as_tensor(self.columns[name], "the dataset", name).unique().tolist())

    def parts(self, rows: Sequence[int]) -> list[Parts]:
        """Return the raw parts of items."""
        rows = [int(row) for row in rows]
        if self.columns is not None:
            return [{name: values[row] for name, values in self.columns.items()} for row in rows]
        many = getattr(self.source, "__getitems__", None)
        found = [self.source[row] for row in rows] if many is None else many(rows)
        if isinstance(found, Batch):
            columns = {DATA_KEYS[0]: found.data, **found.cond}
            found = [{name: values[place] for name, values in columns.items()} for place in range(len(rows))]
        return [self._split(item, f"item {row}") for row, item in zip(rows, found, strict=True)]

    def tensors(self, rows: Sequence[int], shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
        """Return the parts of items, stacked. shapes: those that each must have; None: those of the first row.

        Raises:
            UserError: an item lacks a part, or one is not of numbers, not finite, or of another shape.
        """
        if self.columns is not None:
            index = torch.as_tensor(np.asarray(rows))
            stacked = {
                name: as_tensor(_rows_of(values, index), "the dataset", name) for name, values in self.columns.items()
            }
        else:
            stacked = self._stacked(rows, shapes)
        for name, values in stacked.items():
            wanted = None if shapes is None else shapes.get(name)
            if wanted is not None and tuple(values.shape[1:]) != wanted:
                raise UserError(_other_shape(rows[0], name, values.shape[1:], wanted))
        check_mask(stacked)
        check_finite(stacked, rows)
        return stacked

    def _stacked(self, rows: Sequence[int], shapes: Mapping[str, tuple[int, ...]] | None) -> dict[str, Tensor]:
        found = self.parts(rows)
        names = list(found[0] if shapes is None else shapes)
        first = shapes or {}
        made: dict[str, list[Tensor]] = {name: [] for name in names}
        for row, parts in zip(rows, found, strict=True):
            for name in names:
                if name not in parts:
                    raise UserError(f"item {row} has no {name!r}, which item 0 has: add it to every item")
                value = as_tensor(parts[name], f"item {row}", name)
                wanted = first.get(name, tuple(made[name][0].shape) if made[name] else tuple(value.shape))
                if tuple(value.shape) != wanted:
                    raise UserError(_other_shape(row, name, value.shape, wanted))
                made[name].append(value)
        return {name: torch.stack(_alike(values)) for name, values in made.items()}


class ItemRows(BatchDataset):
    """Some rows of `Items` as batches: what a task's `dataset` returns."""

    def __init__(self, items: Items, rows: Shaped[np.ndarray, "n"], convert: Any) -> None:
        self.items, self.rows, self.convert = items, rows, convert
        if items.nbytes is not None:
            self.nbytes = items.nbytes * len(rows) // len(items)  # a GPU with room keeps them

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.convert(self.items, self.rows[indices].tolist())


def _has_parts(item: list[Any]) -> bool:
    """Return whether a list is an item of several parts, and not numbers or nested lists of them."""
    return any(isinstance(part, (Tensor, np.ndarray, Image.Image, Mapping)) for part in item)


def _is_label(value: Any, axes: int) -> bool:
    """Return whether a value, or an array of values with one more axis, is a whole number."""
    if isinstance(value, (Tensor, np.ndarray)):
        whole = not value.is_floating_point() if isinstance(value, Tensor) else value.dtype.kind in "iub"
        return whole and value.ndim == axes
    return isinstance(value, numbers.Integral)


def _rows_of(values: Any, index: Tensor) -> Any:
    return values[index.to(values.device)] if isinstance(values, Tensor) else values[index.numpy()]


def _alike(values: list[Tensor]) -> list[Tensor]:
    """Return tensors of one kind: floats where they differ."""
    return values if len({value.dtype for value in values}) == 1 else [value.float() for value in values]


def _other_shape(row: int, name: str, found: Sequence[int], wanted: Sequence[int]) -> str:
    what = f"{name!r} of shape" if name else "shape"
    advice = "pad them to one length and add a mask" if not name else "give every item the same"
    return f"item {row} has {what} {list(found)}, and it must be {list(wanted)}, as in item 0: {advice}"


def as_tensor(value: Any, where: str, name: str) -> Tensor:
    """Return numbers, an array or a picture as a tensor on the CPU: float32, uint8, or a whole number of 64 bits.

    Pictures become [channels, height, width]. Raises UserError, which names the place, for anything else.
    """
    what = name or "data"
    if isinstance(value, Image.Image):
        if value.mode not in ("L", "RGB"):
            raise UserError(f"{where}: {what} is a picture of mode {value.mode}: convert it, as with .convert('RGB')")
        value = np.asarray(value).reshape(value.height, value.width, -1).transpose(2, 0, 1).copy()
    if isinstance(value, (list, tuple, np.generic, numbers.Number)):
        try:
            value = np.asarray(value)
        except ValueError:  # lists of different lengths
            raise UserError(f"{where}: the lists in {what} have different lengths: pad them") from None
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iufb":
            kind = "objects" if value.dtype.kind == "O" else f"of type {value.dtype}"
            raise UserError(f"{where}: {what} is {kind}, not numbers: convert it to a tensor of numbers")
        if value.dtype.kind == "u" and value.dtype != np.uint8:
            value = value.astype(np.int64)
        value = torch.from_numpy(np.ascontiguousarray(value) if value.ndim else np.array(value))
    if not isinstance(value, Tensor):
        text = f"{where}: {what} is a {type(value).__name__}, not a tensor"
        raise UserError(f"{text}: convert it, or choose others with condition_names" if name else f"{text}: convert it")
    if value.is_complex() or value.is_sparse:
        raise UserError(
            f"{where}: {what} is {'sparse' if value.is_sparse else value.dtype}: make it dense real numbers"
        )
    value = value.detach().cpu()
    if value.is_floating_point():
        return value.float()
    return value if value.dtype == torch.uint8 else value.long()


def check_mask(stacked: Mapping[str, Tensor]) -> None:
    """Raise UserError where a mask does not fit the data, or has other numbers than 0 and 1."""
    if MASK not in stacked:
        return
    mask, shape = stacked[MASK], tuple(stacked[DATA].shape[1:])
    found = tuple(mask.shape[1:])
    if len(found) != len(shape) or any(size not in (1, full) for size, full in zip(found, shape, strict=True)):
        raise UserError(
            f"the mask has shape {list(found)} and the data {list(shape)}: give it as many axes, each of the same size "
            f"or 1"
        )
    if not ((mask == 0) | (mask == 1)).all():
        raise UserError("the mask has other numbers than 0 and 1: 1 is for entries that exist, 0 for padding")


def check_finite(stacked: Mapping[str, Tensor], rows: Sequence[int]) -> None:
    """Raise UserError where numbers are NaN or infinite, but for data in padding."""
    for name, values in stacked.items():
        if not values.is_floating_point():
            continue
        bad = ~values.isfinite()
        if name == DATA and MASK in stacked:
            bad &= stacked[MASK] != 0
        if bad.any():
            row = int(bad.flatten(1).any(1).nonzero()[0]) if values.ndim > 1 else int(bad.nonzero()[0])
            raise UserError(
                f"item {rows[row]} has NaN or infinity in {name or 'its data'}: remove the item or repair it"
            )
