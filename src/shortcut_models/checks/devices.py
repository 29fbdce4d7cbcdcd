"""A second device without one: PyTorch's `meta` tensors have shapes and no numbers, and mix with no others."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import UserError
from .findings import fail, kind_of

_MOVES = ("aten._to_copy", "aten.copy_", "aten.lift_fresh", "aten.set_")
_INDEXING = ("aten.index.", "aten.index_put")  # a GPU's tensor may be indexed by the CPU's
_TO_NUMPY = "convert meta device"
"""part of PyTorch's error where a tensor that is not on the CPU is turned into an array"""


class MixedDevicesError(RuntimeError):
    """An operation had tensors of two devices."""


class MovedModuleError(RuntimeError):
    """Code moves a module to the data's device. It must not: `meta` tensors forget their numbers."""


class OneDevice(TorchDispatchMode):
    """Refuse operations on tensors of two devices, as a GPU does: some of PyTorch's own for `meta` do not."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors, name, kwargs = list(_tensors((args, kwargs or {}))), str(func), kwargs or {}
        if name.startswith(_MOVES):
            if any(isinstance(each, nn.Parameter) and each.device.type != "meta" for each in tensors):
                raise MovedModuleError(name)
            return func(*args, **kwargs)
        if name.startswith(_INDEXING):
            tensors = tensors[:1] + [each for each in tensors[1:] if each.device.type != "cpu"]
        if len({each.device.type for each in tensors if each.ndim}) > 1:
            raise MixedDevicesError(f"{name.split('.')[1]} mixes a tensor on the CPU with one on that device")
        return func(*args, **kwargs)


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
    """Turn mixed devices in a call with `meta` tensors into a UserError.

    Nothing is said of other errors: the call works on the CPU, and `meta` tensors cannot do all that others can, such
    as to be read.
    """
    try:
        with OneDevice():
            yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, MixedDevicesError) or _TO_NUMPY in str(error):
            change = "make tensors with device=x.device, register_buffer a module's constants, and use .cpu().numpy()"
            fail(f"{what} on another device than the CPU", f"raises {kind_of(error)}", change)


def require_device(what: str, found: Tensor, device: torch.device) -> None:
    """Raise UserError where a tensor is on another device than its inputs."""
    if found.device.type != device.type:
        where = "the device of its input" if device.type == "meta" else str(device)
        fail(what, f"returns a tensor on {found.device}, not on {where}", "make tensors with device=x.device")
