"""All that a checkpoint of the original may be made of: dicts and arrays of NumPy, JAX and Flax, in every protocol."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from helpers.original_maker import Original, write
from helpers.runs import environment
from shortcut_models.original.arrays import read_checkpoint
from shortcut_models.original.network import flat_parameters, load_network

CASE = Original(width=8, depth=1, hidden=8, classes=2)


def load(path: Path) -> Any:
    return load_network(path, num_heads=2, image_size=8)


class Frozen(dict):  # type: ignore[type-arg]
    """Pickles as Flax's FrozenDict does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (dict(self),)


class State:
    """Pickles as an object with fields, such as a Flax dataclass."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__ |= fields


class Half:
    """Stands for a kind of number that NumPy lacks."""


def rebuild(*_: Any) -> None:
    raise AssertionError("not to be called")


class Device:
    """Pickles as an array of JAX: as the NumPy array that it is, taken apart."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        function, args, state = self.value.__reduce__()[:3]
        return rebuild, (function, args, state, {"weak_type": False})


HOMES: dict[tuple[str, str], Any] = {
    ("flax.core.frozen_dict", "FrozenDict"): Frozen,
    ("flax.training.train_state", "TrainState"): State,
    ("jax._src.array", "_reconstruct_array"): rebuild,
    ("ml_dtypes", "bfloat16"): Half,
}
for (_module, _name), _part in HOMES.items():
    _part.__module__, _part.__qualname__, _part.__name__ = _module, _name, _name


def rehomed(content: Any, protocol: int) -> bytes:
    """A pickle in which the things above go by the names that they have in their libraries."""
    made = {}
    for (module, name), part in HOMES.items():
        parts = module.split(".")
        for end in range(1, len(parts) + 1):  # Python looks at the packages above a module first
            made.setdefault(".".join(parts[:end]), types.ModuleType(parts[end - 1]))
        setattr(made[module], name, part)
    with mock.patch.dict(sys.modules, made):
        return pickle.dumps(content, protocol)


def each(tree: Any, change: Callable[[np.ndarray], Any]) -> Any:
    """A tree with something done to every array."""
    return {name: each(value, change) if isinstance(value, dict) else change(value) for name, value in tree.items()}


def frozen(tree: Any) -> Any:
    return Frozen({name: frozen(value) if isinstance(value, dict) else value for name, value in tree.items()})


def expected() -> dict[str, np.ndarray]:
    return dict(_flat(CASE.checkpoint()["train_state"]["params_ema"]))


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        yield from _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]


FORMS: dict[str, Callable[[Any], Any]] = {
    "dicts": lambda params: params,
    "frozen dicts": frozen,
    "ordered dicts": lambda params: collections.OrderedDict(params),
    "arrays of JAX": lambda params: each(params, Device),
    "by columns": lambda params: each(params, np.asfortranarray),
    "views": lambda params: each(params, lambda a: np.repeat(a, 2, -1)[..., ::2]),
    "transposed": lambda params: each(params, lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 0)).swapaxes(0, -1)
                                      if a.ndim < 3 else np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, 2)), 2, 0)),
    "the other order of bytes": lambda params: each(params, lambda a: a.astype(">f4")),
    "float64": lambda params: each(params, lambda a: a.astype(np.float64)),
}  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_checkpoint_is_read(form: str, protocol: int, tmp_path: Path) -> None:
    content = CASE.checkpoint(step=np.int32(12), opt_state=(frozenset({1, 2}), {3}, {4: b"x"}, [{"a": {}}]))
    content["train_state"]["params_ema"] = FORMS[form](content["train_state"]["params_ema"])
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(rehomed(content, protocol))
    assert read_checkpoint(path, ema=True)[1] == 12
    found = flat_parameters(load(path))
    assert all(np.array_equal(found[name], value) for name, value in expected().items() if name in found)
    assert found.keys() == expected().keys() - {"Embed_0.embedding"}


@pytest.mark.parametrize("protocol", range(6))
def test_a_state_with_fields_is_read(protocol: int, tmp_path: Path) -> None:
    content = CASE.checkpoint()
    content["train_state"] = State(**content["train_state"] | {"step": Device(np.array(9, np.int32))})
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(rehomed(content, protocol))
    assert read_checkpoint(path, ema=True)[1] == 9
    found = flat_parameters(load(path))
    assert all(np.array_equal(value, expected()[name]) for name, value in found.items())


@pytest.mark.parametrize(("kind", "tolerance"), [("f2", 1e-3), ("bfloat16", 8e-3)])
@pytest.mark.parametrize("protocol", [2, 4])
def test_halves_are_read(kind: str, tolerance: float, protocol: int, tmp_path: Path) -> None:
    content = CASE.checkpoint()
    params = content["train_state"]["params_ema"]
    if kind == "f2":
        content["train_state"]["params_ema"] = each(params, lambda a: a.astype(np.float16))
        written = rehomed(content, protocol)
    else:  # float16 with the bits of bfloat16, by the name of bfloat16
        bits = lambda a: (a.view(np.uint32) >> 16).astype(np.uint16).view(np.float16)
        content["train_state"]["params_ema"] = each(params, lambda a: Device(bits(a)))
        name = rehomed(Half, 2)[2:].split(b"q")[0]  # GLOBAL
        plain = rehomed(content, protocol)
        short = b"\x8c\x02f2" if protocol == 4 else b"X\x02\x00\x00\x00f2"
        assert plain.count(short) == 1
        written = unframed(plain).replace(short, name)
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(written)
    found = flat_parameters(load(path))
    for name, value in found.items():
        assert np.abs(value - expected()[name]).max() <= tolerance * np.abs(expected()[name]).max()
        assert value.dtype == np.float32


def unframed(whole: bytes) -> bytes:
    """The same instructions without frames, whose sizes would be wrong after a change."""
    made, source = io.BytesIO(), io.BytesIO(whole)
    operations = list(pickletools.genops(source))
    ends = [position for _, _, position in operations[1:]] + [len(whole)]
    for (operation, _, position), end in zip(operations, ends, strict=True):
        if operation.name != "FRAME":
            made.write(whole[position:end])
    return made.getvalue()


def test_parameters_may_be_their_own_average(tmp_path: Path) -> None:
    """As before the first step: the two are one object then."""
    content = CASE.checkpoint()
    content["train_state"]["params"] = content["train_state"]["params_ema"]
    path = write(tmp_path / "checkpoint.pkl", content)
    for ema in (True, False):
        found = flat_parameters(load_network(path, num_heads=2, image_size=8, ema=ema))
        assert all(np.array_equal(value, expected()[name]) for name, value in found.items())


@pytest.mark.multiprocess
def test_large_content_stays_in_the_file(tmp_path: Path) -> None:
    """Optimiser states are twice as large as the parameters, and are not asked for."""
    content = CASE.checkpoint(opt_state=[np.ones(25_000_000, np.float32) for _ in range(4)])
    path = write(tmp_path / "checkpoint.pkl", content)
    code = f"""
import resource
from pathlib import Path
from shortcut_models.original.arrays import read_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_checkpoint(Path({str(path)!r}), ema=True)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 50_000, grown
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
