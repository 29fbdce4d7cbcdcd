"""How a check says what is wrong: what was called, what came back, and what to change."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from torch import Tensor

from ..errors import UserError, first_line

PRECISION = 1e-4
"""how far two results of float32 may be apart, as a share of the largest number, and count as the same"""

_OURS = (__name__.split(".")[0], "contextlib", "jaxtyping", "beartype")
"""modules between a check and its caller"""


def fail(what: str, found: str, change: str) -> NoReturn:
    """Raise UserError: what was called, what came back, and what to change."""
    raise UserError(" ".join(f"{what} {found}: {change}".split()))


def doubt(message: str) -> None:
    """Warn of what is merely doubtful, at the caller's own line."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def kind_of(error: Exception) -> str:
    """Return an exception's type and the first line of what it says."""
    kind, said = type(error).__name__, first_line(error)
    return kind if said == kind else f"{kind}: {said}"


@contextlib.contextmanager
def calling(what: str, change: str) -> Iterator[None]:
    """Turn an exception of the author's own code into a UserError that names the call; those with advice stay."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        fail(what, f"raises {kind_of(error)}", change)


def describe(value: Any) -> str:
    """Return a value in words: dtype, shape and device of a tensor or an array, else its type."""
    if isinstance(value, Tensor):
        where = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}{where}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array {value.dtype} {list(value.shape)}"
    if isinstance(value, (bool, int, float, str, np.generic)):
        return (
            f"{type(value).__name__} {str(value)[:40]!r}"
            if isinstance(value, str)
            else f"{type(value).__name__} {value}"
        )
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {names([describe(each) for each in value], 2) or 'nothing'}"
    return "None" if value is None else f"a {type(value).__name__}"


def differ(a: Tensor, b: Tensor, share: float = PRECISION) -> bool:
    """Return whether two tensors of one shape are further apart than rounding explains."""
    if not a.numel():
        return False
    a, b = a.detach().double(), b.detach().double()
    largest = max(float(a.abs().max()), float(b.abs().max()))
    return not float((a - b).abs().max()) <= share * largest


def names(some: Sequence[str], most: int = 4) -> str:
    """Return names in a row, the first few of many."""
    more = f" and {len(some) - most} more" if len(some) > most else ""
    return ", ".join(some[:most]) + more
