"""A network that is checked, and the calls that are made of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..base import Cond, Condition, Network
from .findings import calling, describe


class Call(NamedTuple):
    """What a network is called with."""

    x: Tensor
    t: Tensor
    d: Tensor
    cond: Cond
    drop: Tensor | None

    def _each(self, change: Any) -> "Call":
        cond = {name: change(value) for name, value in self.cond.items()}
        drop = None if self.drop is None else change(self.drop)
        return Call(change(self.x), change(self.t), change(self.d), cond, drop)

    def to(self, device: torch.device) -> "Call":
        """Return the same call on another device."""
        return self._each(lambda value: value.to(device))

    def clone(self) -> "Call":
        """Return the same call with tensors of its own."""
        return self._each(torch.clone)

    def rows(self, row: int) -> "Call":
        """Return the call of one row alone."""
        return self._each(lambda value: value[row : row + 1])

    def compared(self, other: "Call") -> Iterator[tuple[str, Tensor, Tensor]]:
        """Return each tensor by name, with that of another call."""
        yield from zip(("x", "t", "d"), self[:3], other[:3], strict=True)
        yield from ((name, value, other.cond[name]) for name, value in self.cond.items())
        if self.drop is not None and other.drop is not None:
            yield "drop", self.drop, other.drop


@dataclass
class Subject:
    """A network, and the shape and conditions that it is called with."""

    network: Network
    shape: tuple[int, ...]
    conditions: Mapping[str, Condition]

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(self.network.parameters()).device

    def of(self, network: Network) -> "Subject":
        """Return the same for another network."""
        return Subject(network, self.shape, self.conditions)

    def __call__(self, call: Call, *, gradients: bool = False) -> Tensor:
        """Return the velocity. Raise UserError where the network raises."""
        given = ", ".join(f"{name}: {describe(value)}" for name, value in call.cond.items())
        with torch.set_grad_enabled(gradients):
            with calling(f"encode({{{given}}}, drop {describe(call.drop)})", "make it take these conditions"):
                context = self.network.encode(call.cond, call.drop)
            with calling(self.describe(call), "make it take these shapes"):
                return self.network(call.x, call.t, call.d, context)

    @staticmethod
    def describe(call: Call) -> str:
        """Return the call of `forward` in words."""
        return f"forward(x {describe(call.x)}, t {list(call.t.shape)}, d {list(call.d.shape)}, context)"
