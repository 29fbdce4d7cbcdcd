"""What samples are conditioned on: from what a user passes to what a network gets."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from ..base import Cond, Condition, Label, Task, Vector
from ..config import closest, did_you_mean
from ..errors import UserError
from ..text import MAX_ENTRIES

ClassLabel = int | np.integer | str
"""a class by its number or its name"""
Labels = ClassLabel | Sequence[ClassLabel] | np.ndarray | Tensor
"""one class for all samples, or one each"""


def class_numbers(label: Labels, num: int, task: Task, classes: int) -> Int64[np.ndarray, "n"]:
    """Return the number of the class of each sample; see `Model.sample` for what `label` may be."""
    if isinstance(label, (str, numbers.Integral)) or np.ndim(label) == 0:  # type: ignore[arg-type]
        return np.full(num, _number(label, task, classes), np.int64)
    found = label.tolist() if isinstance(label, (np.ndarray, Tensor)) else list(label)  # type: ignore[arg-type]
    if len(found) != num:
        raise UserError(f"label must be one class or {num} of them, not {len(found)}")
    return np.array([_number(each, task, classes) for each in found], np.int64)


def _number(label: Any, task: Task, classes: int) -> int:
    """Return the number of a class that is given by its number or name."""
    label = label.item() if isinstance(label, (np.generic, np.ndarray, Tensor)) and np.ndim(label) == 0 else label
    names = task.class_names
    if isinstance(label, str) and label in names:
        return names.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < classes:
        return label
    wanted = f"label must be a whole number from 0 to {classes - 1}" + " or the name of a class" * bool(names)
    advice = ""
    if names and isinstance(label, str):
        shown = ", ".join(names[:MAX_ENTRIES]) + ", ..." * (len(names) > MAX_ENTRIES)
        advice = f": {did_you_mean(closest(label, names)) or f'choose one of {shown}'}"
    raise UserError(f"{wanted}, not {label!r}{advice}" if isinstance(label, str) else f"{wanted}, not {label}")


def given_cond(task: Task, num: int, cond: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return conditions that a user passes, other than the label, as tensors [num, ...].

    A value is one row for all samples or `num` rows, and an array, a tensor or what becomes one.

    Raises:
        UserError: names are missing or unknown, or values do not fit in number, type or range.
    """
    wanted = {name: kind for name, kind in task.conditions.items() if name != "label" or not isinstance(kind, Label)}
    unknown = [name for name in cond if name not in wanted]
    if unknown:
        known = ", ".join(task.conditions) or "none"
        raise UserError(f"cond has {unknown[0]!r}, which this model is not conditioned on: its conditions are {known}")
    missing = [name for name in wanted if name not in cond]
    if missing:
        raise UserError(f"cond does not have {missing[0]!r}: pass one row of it for all samples, or {num} rows")
    return {name: _rows(task, name, kind, cond[name], num) for name, kind in wanted.items()}


def _rows(task: Task, name: str, kind: Condition, value: Any, num: int) -> Shaped[Tensor, "{num} ..."]:
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"cond {name!r} is not an array of numbers ({error}): pass an array or a tensor") from None
    if found.is_complex():
        raise UserError(f"cond {name!r} holds complex numbers: pass real ones")
    found = found.float() if found.is_floating_point() else found
    # What a task that changes conditions takes, it alone knows.
    known = type(task).preprocess_cond is Task.preprocess_cond
    if known and found.ndim == len(kind.shape):
        found = found[None]  # one row, without the axis of a batch
    if found.ndim == 0 or len(found) not in (1, num):
        shape = f"[{num}{''.join(f', {size}' for size in kind.shape)}]" if known else f"[{num}, ...]"
        raise UserError(f"cond {name!r} has the shape {list(found.shape)}: pass {shape}, or 1 row for all samples")
    if found.is_floating_point() and not torch.isfinite(found).all():
        raise UserError(f"cond {name!r} holds a number that is not finite: check the values")
    if known and isinstance(kind, Vector):
        found = found.float()
    return found.expand(num, *found.shape[1:])


def prepared_cond(task: Task, cond: Cond, rows: int, device: torch.device) -> Cond:
    """Return what the network is conditioned on, on its device, from conditions as the data set gives them.

    Raises:
        UserError: a condition is missing, or does not have the shape, type and range that the network takes.
    """
    missing = [name for name in task.conditions if name not in cond]
    if missing:
        raise UserError(f"the condition {missing[0]!r} is missing: pass it in cond, as the data set gives it")
    try:
        found = task.preprocess_cond({name: value.to(device) for name, value in cond.items()})
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the conditions do not fit ({reason}): pass them as the data set gives them") from None
    for name, kind in task.conditions.items():
        value, shape = found[name], (rows, *kind.shape)
        whole = not value.is_floating_point() and value.dtype != torch.bool
        if tuple(value.shape) != shape or whole != isinstance(kind, Label):
            numbers_of = "whole numbers" if isinstance(kind, Label) else "floats"
            raise UserError(
                f"the condition {name!r} is {_dtype(value)} {list(value.shape)}, and must be {numbers_of} "
                f"{list(shape)}: pass it as the data set gives it"
            )
        if isinstance(kind, Label) and not 0 <= int(value.min()) <= int(value.max()) < kind.count:
            raise UserError(f"the condition {name!r} must be whole numbers from 0 to {kind.count - 1}")
    return found


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
