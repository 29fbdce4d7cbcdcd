"""A second device without one: PyTorch's `meta` tensors have shapes and no numbers, and mix with no others."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import UserError
from .findings import fail, kind_of

_MOVES = ("aten._to_copy", "aten.copy_", "aten.lift_fresh", "aten.set_")
_INDEXING = ("aten.index.", "aten.index_put")  # a GPU's tensor may be indexed by the CPU's
_UNREADABLE = ("meta tensor", "no data", "item()")
"""parts of PyTorch's errors where code reads numbers, which a GPU's tensors have and these do not"""


class MixedDevicesError(RuntimeError):
    """An operation had tensors of two devices."""


class OneDevice(TorchDispatchMode):
    """Refuse operations on tensors of two devices, as a GPU does: some of PyTorch's own for `meta` do not."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors, name = list(_tensors((args, kwargs or {}))), str(func)
        if name.startswith(_INDEXING):
            tensors = tensors[:1] + [each for each in tensors[1:] if each.device.type != "cpu"]
        devices = {each.device.type for each in tensors if each.ndim}
        if len(devices) > 1 and not name.startswith(_MOVES):
            raise MixedDevicesError(f"{name.split('.')[1]} mixes a tensor on the CPU with one on that device")
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


@contextlib.contextmanager
def second_device(what: str) -> Iterator[None]:
    """Turn mixed devices in a call with `meta` tensors into a UserError; where code reads numbers, nothing is said."""
    what = f"{what} on another device than the CPU"
    try:
        with OneDevice():
            yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, MixedDevicesError) or not any(part in str(error) for part in _UNREADABLE):
            change = "make tensors with device=x.device, and register constants of a module with register_buffer"
            fail(what, f"raises {kind_of(error)}", change)


def require_device(what: str, found: Tensor, device: torch.device) -> None:
    """Raise UserError where a tensor is on another device than its inputs."""
    if found.device.type != device.type:
        where = "the device of its input" if device.type == "meta" else str(device)
        fail(what, f"returns a tensor on {found.device}, not on {where}", "make tensors with device=x.device")
