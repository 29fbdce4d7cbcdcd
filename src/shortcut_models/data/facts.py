"""What some items of a data set say of all: shape, conditions and units."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from ..batch import MASK
from ..errors import UserError
from ..randomness import fixed_randomness
from .items import DATA, LABEL, Items

EXAMINED = 1024  # items that facts are found in, where not all are in memory
IN_MEMORY = 2**30  # bytes of arrays up to which all rows are looked at
AT_ONCE = 64  # items that are read together
TAKEN = ("x", "t", "d", "drop")  # names of other arguments of a network
Numbers = tuple[float, ...]


class Facts(NamedTuple):
    """What is stored with a model in place of its data; see `tasks.FromDataset`."""

    shape: tuple[int, ...]
    whole_numbers: str
    condition_names: tuple[str, ...]
    kinds: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    mean: float
    deviation: float
    centres: tuple[Numbers, ...]
    scales: tuple[Numbers, ...]
    class_names: tuple[str, ...]


def find_facts(items: Items, examined: int, classes: int | None, *, standardise: bool) -> Facts:
    """Read the first item and random others, or all of arrays that are not large.

    Items that are random, as with augmentation, are read with the same random numbers every time.

    Args:
        items: the data set.
        examined: the number of items that are read, where not all are in memory.
        classes: the number of classes of the condition "label"; None: found.
        standardise: whether mean and deviation are found; otherwise they are 0 and 1.

    Raises:
        UserError: an item, a condition, or its name is not one that a network can have.
    """
    from sklearn.preprocessing import StandardScaler  # slow to import

    is_whole = items.nbytes is not None and items.nbytes <= IN_MEMORY
    count = len(items) if is_whole else min(len(items), examined)
    places = _places(len(items), count)
    shapes: dict[str, tuple[int, ...]] = {}
    kinds: dict[str, str] = {}
    labels: dict[str, set[int]] = {}
    units: dict[str, Any] = {}
    whole_numbers = ""
    with fixed_randomness():
        for begin in range(0, count, AT_ONCE):
            parts = items.tensors(places[begin : begin + AT_ONCE], shapes or None)
            if not shapes:
                data = parts[DATA]
                shapes = {name: tuple(values.shape[1:]) for name, values in parts.items()}
                kinds = {name: kind_of(name, values) for name, values in parts.items() if name != DATA}
                whole_numbers = "" if data.is_floating_point() else str(data.dtype).removeprefix("torch.")
                units = {
                    name: StandardScaler() for name in (DATA, *(n for n, kind in kinds.items() if kind == "vector"))
                }
            for name in units:
                if len(numbers := _numbers(name, parts)):
                    units[name].partial_fit(numbers)
            for name in (name for name, kind in kinds.items() if kind == "label"):
                labels.setdefault(name, set()).update(parts[name].unique().tolist())
    if items.columns is not None:  # where all labels can be looked at
        labels = {name: items.values_of(name) for name in labels}
    names = tuple(kinds)
    class_names = _class_names(items.source)
    counts = {
        name: _count(
            name, found, count, classes, class_names, is_whole=items.columns is not None or count == len(items)
        )
        for name, found in labels.items()
    }
    if LABEL not in counts:
        class_names = ()
        if classes is not None:
            raise UserError(f"the items have no label, and classes is {classes}: leave it out, or add labels")
    fits = {name: _fit(unit) if standardise else ((), ()) for name, unit in units.items()}
    (mean,), (deviation,) = fits[DATA] if standardise else ((0.0,), (1.0,))
    return Facts(
        shapes[DATA], whole_numbers, names, tuple(kinds.values()), tuple(shapes[name] for name in names),
        tuple(counts.get(name, 0) for name in names), mean, deviation,
        tuple(fits.get(name, ((), ()))[0] for name in names), tuple(fits.get(name, ((), ()))[1] for name in names),
        class_names[: counts.get(LABEL, 0)],
    )  # fmt: skip


def _places(items: int, count: int) -> list[int]:
    """Return the first item and random others, in order. Evenly spaced ones could all be of one class."""
    if count == 1:
        return [0]
    others = np.random.default_rng(0).choice(items - 1, count - 1, replace=False)
    return [0, *(np.sort(others) + 1).tolist()]


def _numbers(name: str, parts: Mapping[str, Tensor]) -> np.ndarray:
    """Return the numbers of a part that share their units, [n, 1] of data and [n, size] of a vector."""
    values = parts[name].double()
    if name != DATA:
        return values.reshape(len(values), -1).numpy()
    if MASK in parts:
        values = values[parts[MASK].expand(values.shape) != 0]
    return values.reshape(-1, 1).numpy()


def _fit(scaler: Any) -> tuple[Numbers, Numbers]:
    """Return mean and deviation as float32 holds them; a deviation of 1 for numbers that do not vary."""
    if not hasattr(scaler, "mean_"):  # all is padding
        return (0.0,), (1.0,)
    mean, deviation = scaler.mean_, np.sqrt(scaler.var_)
    constant = deviation <= 1e-6 * np.abs(mean)
    found = (mean, np.where(constant, 1.0, deviation))
    return tuple(map(_as_numbers, found))  # type: ignore[return-value]


def _as_numbers(values: np.ndarray) -> Numbers:
    return tuple(values.astype(np.float32).tolist())


def kind_of(name: str, values: Tensor) -> str:
    """Return the kind of a condition, "label", "vector", "frames" or "mask", by its values [n, ...]."""
    if not isinstance(name, str) or name in TAKEN or "." in name or hasattr(nn.ModuleDict, name):
        raise UserError(f"a condition cannot be named {name!r}: rename it, or choose others with condition_names")
    shape = tuple(values.shape[1:])
    if name == MASK:
        return "mask"
    if not shape and not values.is_floating_point():
        return "label"
    if len(shape) <= 1:
        return "vector"
    if len(shape) in (3, 4):
        return "frames"
    raise UserError(
        f"{name} has shape {list(shape)} in each item: a condition is a whole number, a vector or images [channels, "
        f"height, width]; flatten it, or choose others with condition_names"
    )


def _count(
    name: str, found: set[int], read: int, classes: int | None, class_names: tuple[str, ...], *, is_whole: bool
) -> int:
    """Return the number of classes of a label. Raise UserError where the labels seen are not 0, 1, ..."""
    least, most = min(found), max(found)
    if least < 0:
        raise UserError(f"{name} goes down to {least}: number the classes from 0")
    known = (classes or len(class_names)) if name == LABEL else 0
    if known:
        if most >= known:
            raise UserError(f"{name} goes up to {most}, and there are {known} classes: number them from 0")
        return known
    missing = sorted(set(range(min(most, len(found) + 1))) - found)
    if name == LABEL and missing and (is_whole or most >= read):
        raise UserError(
            f"{name} goes up to {most} and is never {missing[0]}: number the classes from 0, or pass classes={most + 1}"
        )
    return most + 1


def _class_names(source: Any) -> tuple[str, ...]:
    """Return the names of the classes of a data set of torchvision or Hugging Face; () where it has none."""
    features = getattr(source, "features", None)
    feature = features.get(LABEL) if isinstance(features, Mapping) else None
    names = getattr(feature, "names", None) or getattr(source, "classes", None)
    return tuple(names) if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names) else ()
