"""The arrays in a checkpoint of the paper's own code, by name.

They are arrays of NumPy, or of JAX around those. Shape, kind of number and bytes are checked against one another.
"""

import math
import re
from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError
from .unpickle import CHOOSE, LONGEST, Inert, read_pickle

KINDS = frozenset({"f2", "f4", "f8"})  # the kinds of number that a parameter may be of, besides bfloat16
INTEGERS = frozenset({"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})
LARGEST_STEP = 10**12


class Stored(NamedTuple):
    """An array as it is in the file."""

    rows: tuple[int, ...]  # its shape in the order of its bytes
    axes: tuple[int, ...]  # which of those axes each axis of the array is
    kind: str  # f4, i8, ... or bfloat16
    order: str  # of the bytes of a number, < or >
    content: bytes | memoryview

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows[axis] for axis in self.axes)

    def numbers(self) -> np.ndarray:
        """Return the array, on the bytes of the file where possible."""
        if self.kind == "bfloat16":  # the upper half of a float32
            flat = (np.frombuffer(self.content, f"{self.order}u2").astype(np.uint32) << 16).view(np.float32)
        else:
            flat = np.frombuffer(self.content, self.order + self.kind)
        return flat.reshape(self.rows).transpose(self.axes)


def _name(value: Any, library: str = "numpy") -> str:
    """Return the name of what a stand-in stands for in a library, in whichever module of it; "" for another's."""
    known = isinstance(value, type) and issubclass(value, Inert) and value.module.partition(".")[0] == library
    return value.name if known else ""


def _content(value: Any) -> bytes | memoryview | None:
    """Return bytes, also those that an old protocol wrote as text."""
    if isinstance(value, Inert) and _name(type(value), "_codecs") == "encode":
        value = value.args[0] if value.args[1:] in (("latin1",), ("latin-1",)) else None
    if isinstance(value, str):
        value = value.encode("latin-1")  # raises ValueError for a text that no bytes were written as
    return value if isinstance(value, (bytes, memoryview)) else None


def _kind(value: Any) -> tuple[str, str]:
    """Return the kind of number and the order of bytes of a NumPy dtype. Raises ValueError for one of no use."""
    if not (isinstance(value, Inert) and _name(type(value)) == "dtype" and value.args):
        raise ValueError("its kind of number is not understood")
    kind, state, order = value.args[0], value.state, "<"
    if isinstance(state, tuple) and len(state) > 1:
        order = ">" if state[1] == ">" else "<"
        if any(part is not None for part in state[2:5]):
            raise ValueError("its numbers are records")
    if isinstance(kind, type) and issubclass(kind, Inert) and kind.name == "bfloat16":  # it has had several homes
        return "bfloat16", order
    found = re.fullmatch(r"([<>=|]?)(\w\d)", kind) if isinstance(kind, str) else None
    if found and found[2] in KINDS | INTEGERS:
        return found[2], ">" if found[1] == ">" else order
    shown = kind[:40] if isinstance(kind, str) else getattr(kind, "name", type(kind).__name__)
    raise ValueError(f"it holds {shown!r}, not floating-point numbers")


def _parts(value: Any) -> tuple[Any, Any, Any, Any] | None:
    """Return shape, kind, order of the axes (C, F or numbers) and content of an array; None for anything else."""
    if not isinstance(value, Inert):
        return None
    by, args, state = type(value), value.args, value.state
    if by.module.partition(".")[0] in ("jax", "jaxlib") and len(args) >= 3 and _name(args[0]) == "_reconstruct":
        by, args, state = args[:3]  # an array of JAX is one of NumPy, taken apart
    name = _name(by)
    if name == "_reconstruct" and isinstance(state, tuple) and len(state) in (4, 5):
        shape, kind, by_columns, content = state[-4:]
        return shape, kind, "F" if by_columns else "C", content
    if name == "_frombuffer" and len(args) in (4, 5):
        return args[2], args[1], args[-1], args[0]
    if name == "scalar" and len(args) == 2:
        return (), args[0], "C", args[1]
    return None


def _axes(shape: Any, order: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape in the order of the bytes, and the axes in it. Raises ValueError for anything else."""
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise ValueError("its shape is not understood")
    axes = tuple(range(len(shape)))
    if order == "C":
        return shape, axes
    if order == "F":
        return shape[::-1], axes[::-1]
    alike = isinstance(order, tuple) and len(order) == len(axes) and all(type(n) is int for n in order)
    if alike and tuple(sorted(order)) == axes:
        return shape, order
    raise ValueError("the order of its axes is not understood")


def stored(value: Any) -> Stored | None:
    """Return the array that a value of the pickle stands for, or None. Raises ValueError if it cannot be used."""
    parts = _parts(value)
    if parts is None:
        return None
    shape, dtype, layout, held = parts
    rows, axes = _axes(shape, layout)
    kind, order = _kind(dtype)
    content, size = _content(held), 2 if kind == "bfloat16" else int(kind[1:])
    if content is None or math.prod(rows) * size != len(content):
        raise ValueError(f"its shape {rows} does not fit the bytes that are there")
    return Stored(rows, axes, kind, order, content)


def _dicts(value: Any) -> list[dict[str, Any]]:
    """Return the dicts that a value is made of: itself, what a frozen one holds, or an object's fields."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, Inert) or _parts(value) is not None:
        return []
    # Fields that are slots come as the second of two dicts.
    state = value.state if isinstance(value.state, tuple) and len(value.state) == 2 else (value.state,)
    return [part for part in (value.items, *value.args[:1], *state) if isinstance(part, dict) and part]


def mapping(value: Any) -> dict[str, Any] | None:
    """Return the names and values of a dict, a frozen dict, or an object with fields; None for anything else."""
    found = _dicts(value)
    return dict(ChainMap(*found[::-1])) if found else None


def leaves(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield all in nested dicts that is not a dict, by names such as "DiTBlock_0.Dense_0.kernel". Raises ValueError."""
    seen: set[int] = set()
    waiting = [("", [tree])]
    while waiting:
        prefix, dicts = waiting.pop()
        for key, value in ChainMap(*dicts[::-1]).items():
            name, inner = prefix + key, _dicts(value)
            if len(name) > LONGEST or any(id(part) in seen for part in inner):
                raise ValueError(f"{name[:LONGEST]!r} is too long, or there twice")
            if inner:
                seen.update(map(id, inner))
                waiting.append((f"{name}.", inner))
            else:
                yield name, value


def read_checkpoint(path: Path, *, ema: bool) -> tuple[dict[str, Stored], int]:
    """Return the parameters of a checkpoint, or their average, and its step, 0 if it does not say. Raises UserError."""
    content = read_pickle(path)
    try:
        top = mapping(content) or {}
        state = mapping(top.get("train_state"))
        key = "params_ema" if ema else "params"
        tree = mapping((state or {}).get(key))
        if state is None or tree is None:
            place, found = ("it", top) if state is None else ("train_state", state)
            names = ", ".join(sorted(name[:40] for name in found)[:8]) or "nothing with a name"
            raise ValueError(f"it has no train_state/{key}: {place} holds {names}")
        return _arrays(tree, path.stat().st_size), _step(state.get("step"))
    except ValueError as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path}: {text}: {CHOOSE}") from None


def _arrays(tree: dict[str, Any], file_size: int) -> dict[str, Stored]:
    """Return the arrays of a set of parameters. Raises ValueError, with the name, for anything else in it."""
    found, total = {}, 0
    for name, value in leaves(tree):
        try:
            array = stored(value)
        except ValueError as error:
            raise ValueError(f"{name} cannot be used: {error}") from None
        if array is None or array.kind in INTEGERS:
            raise ValueError(f"{name} is not an array of floating-point numbers")
        found[name] = array
        total += len(array.content)
        if total > file_size:
            raise ValueError("the same bytes are there as several arrays")
    return found


def _step(value: Any) -> int:
    """Return a training step: a number, or an array of one. Raises ValueError for anything else."""
    array = stored(value)
    if array is not None and array.kind in INTEGERS and math.prod(array.rows) == 1:
        value = array.numbers().item()
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < LARGEST_STEP:
        raise ValueError("its step is not a whole number")
    return value
