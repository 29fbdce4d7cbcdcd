"""A batch of examples, and the types of what is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from .errors import UserError

MASK = "mask"
"""the name of the condition that says which entries of an event exist; see `base.Mask`"""

X = Float[Tensor, "b *event"]
"""Any point of the path, noise (t = 0) to data (t = 1): event is (2,), (C, H, W), (horizon, action), ..."""
T = Float[Tensor, "b"]
"""A time in [0, 1], or a step size in [0, 1], per example; float32."""
Cond = Mapping[str, Shaped[Tensor, "b ..."]]
"""Named conditions: {} or {"label": int64 [b]} or {"state": float32 [b, n], ...}."""


@dataclass(frozen=True)
class Label:
    """A class label, int64 [b] in [0, count)."""

    count: int
    shape: ClassVar[tuple[int, ...]] = ()

    def example(self, rows: int, device: Any = None) -> Tensor:
        """Return classes in turn, from the last one down, which a table that is too small does not have."""
        return (-1 - torch.arange(rows, device=device)) % self.count


@dataclass(frozen=True)
class Vector:
    """A vector of features, float32 [b, size]."""

    size: int
    shape = property(lambda self: (self.size,))

    def example(self, rows: int, device: Any = None) -> Tensor:
        """Return standard normal numbers."""
        return torch.randn(rows, self.size, device=device)


@dataclass(frozen=True)
class Frames:
    """The last images of a camera, oldest first, float32 [b, history, channels, height, width] in [-1, 1]."""

    history: int
    channels: int
    height: int
    width: int
    shape = property(lambda self: (self.history, self.channels, self.height, self.width))

    def example(self, rows: int, device: Any = None) -> Tensor:
        """Return images of uniform noise."""
        return 2 * torch.rand(rows, *self.shape, device=device) - 1


@dataclass(frozen=True)
class Mask:
    """Which entries of the event exist, and which are padding: 1 or 0, float32 [b, *shape].

    Its name among the conditions is "mask". The shape has as many axes as the event, and axes of 1 stand for all
    entries. Padding is never dropped, and no loss counts it; see `networks.wrapped.MaskedNetwork`.
    """

    shape: tuple[int, ...]

    def example(self, rows: int, device: Any = None) -> Tensor:
        """Return masks without padding."""
        return torch.ones(rows, *self.shape, device=device)


Condition = Label | Vector | Frames | Mask


def without_padding(x: X, cond: Cond) -> X:
    """Return x with 0 in the entries that the mask among its conditions says are padding, if there is one."""
    return x if MASK not in cond else x.masked_fill(cond[MASK] == 0, 0.0)


@dataclass
class Batch:
    """Examples and their conditions, batch axis first."""

    is_encoded: ClassVar[bool] = False
    """whether `data` is as the network sees it, and not as the data set gives it"""

    data: Shaped[Tensor, "b *event"]
    cond: Cond = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.data)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        cond = {name: change(value) for name, value in self.cond.items()}
        tensors = {each.name: change(getattr(self, each.name)) for each in fields(self) if each.name != "cond"}
        return replace(self, cond=cond, **tensors)

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: Any) -> Batch:
        """Return the batch on another device; asynchronously where its memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (the data loader calls this)."""
        return self._each(Tensor.pin_memory)


def check_batch(net: nn.Module, batch: Any) -> None:
    """Raise UserError, in one line, where a network cannot be trained on a batch: see `Objective.losses`."""
    if not hasattr(net, "encode"):
        raise UserError(f"net must be a Network, not {type(net).__name__}: wrap it with as_network(module, conditions)")
    if not isinstance(batch, Batch):
        raise UserError(f"batch must be a Batch, not {type(batch).__name__}: pass Batch(data, {{name: condition}})")
    parts = {"data": batch.data, **batch.cond}
    for name, value in parts.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{name} of a batch must be a tensor, not {type(value).__name__}: use torch.as_tensor")
        if value.ndim == 0 or len(value) != len(batch.data):
            rows = "no axis" if value.ndim == 0 else f"{len(value)} rows, and data has {len(batch.data)}"
            raise UserError(f"{name} of a batch has {rows}: pass one row for each example")
    if not batch.data.is_floating_point():
        raise UserError(f"data of a batch must be floats, not {batch.data.dtype}: encode it, as with data.float()")
    device = next((parameter.device for parameter in net.parameters()), batch.data.device)
    for name, value in parts.items():
        if value.device != device:
            raise UserError(
                f"{name} of a batch is on {value.device}, and the network on {device}: use batch.to(device)"
            )


@dataclass(kw_only=True)
class PairBatch(Batch):
    """Samples of a trained model, each with the noise that it was made from."""

    is_encoded: ClassVar[bool] = True

    noise: X
    drop: Bool[Tensor, "b"]
    """which samples were made without their condition: these lose theirs in training"""
