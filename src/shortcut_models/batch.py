"""A batch of examples, and the types of what is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from jaxtyping import Bool, Float, Shaped
from torch import Tensor

X = Float[Tensor, "b *event"]
"""Any point of the path, noise (t = 0) to data (t = 1): event is (2,), (C, H, W), (horizon, action), ..."""
T = Float[Tensor, "b"]
"""A time in [0, 1], or a step size in [0, 1], per example; float32."""
Cond = Mapping[str, Shaped[Tensor, "b ..."]]
"""Named conditions: {} or {"label": int64 [b]} or {"state": float32 [b, n], ...}."""


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


@dataclass(kw_only=True)
class PairBatch(Batch):
    """Samples of a trained model, each with the noise that it was made from."""

    is_encoded: ClassVar[bool] = True

    noise: X
    drop: Bool[Tensor, "b"]
    """which samples were made without their condition: these lose theirs in training"""
