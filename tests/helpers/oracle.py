"""Networks whose every output is known: the exact flow map of a Gaussian, and one that records its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shortcut_models.base import Batch, Cond, Label, Network, T, X
from shortcut_models.networks import MLPConfig


def column(t: Tensor, x: Tensor) -> Tensor:
    """t [b] -> [b, 1, ..., 1] in the precision of x."""
    return t.to(x.dtype).reshape(len(x), *[1] * (x.ndim - 1))


class GaussianOracle(Network):
    """The exact flow map from N(0, I) to N(mean, std^2 I): the network that every method must call perfect.

    The path's marginal at time t is N(t mean, sigma(t)^2) with sigma(t)^2 = (1 - t)^2 + (t std)^2, and the flow
    keeps (x - t mean) / sigma(t) constant. The deviation is one number, or one for each coordinate. Computes in the
    precision of x.
    """

    def __init__(self, mean: Tensor, std: float | Tensor) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def sigma(self, t: Tensor) -> Tensor:
        return ((1 - t) ** 2 + (t * self.std) ** 2).sqrt()

    def mean_of(self, context: Any) -> Tensor:
        return self.mean

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        mean, t, d = self.mean_of(context).to(x.dtype), column(t, x), column(d, x)
        end, away = t + d, x - t * mean
        finite = (end * mean + self.sigma(end) / self.sigma(t) * away - x) / torch.where(d == 0, 1, d)
        instant = mean + (t * self.std**2 - (1 - t)) / self.sigma(t) ** 2 * away
        return torch.where(d == 0, instant, finite)


class ClassOracle(GaussianOracle):
    """As `GaussianOracle`, with a mean for each class [classes, *event] and another without a class [*event]."""

    def __init__(self, means: Tensor, null: Tensor, std: float) -> None:
        super().__init__(null, std)
        self.means = means

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Tensor:
        means = self.means[cond["label"]]
        return means if drop is None else torch.where(column(drop, means).bool(), self.mean, means)

    def mean_of(self, context: Any) -> Tensor:
        return context


@dataclass
class Call:
    """What a network was asked; the label is -1 in rows whose condition was dropped."""

    x: Tensor
    t: Tensor
    d: Tensor
    label: Tensor | None


class Spy(Network):
    """Passes everything on to another network, or answers with a function of the call, and keeps a record.

    `inner` is a network, or a function of a `Call`; without either the answer is zero.
    """

    def __init__(self, inner: Network | Callable[[Call], Tensor] | None = None) -> None:
        super().__init__()
        self.network = inner if isinstance(inner, Network) else None
        self.answer = inner if self.network is None else None
        self.calls: list[Call] = []
        self.drops: list[Tensor | None] = []

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Any:
        self.drops.append(drop)
        label = cond.get("label")
        if label is not None and drop is not None:
            label = torch.where(drop, -1, label)
        return label, self.network.encode(cond, drop) if self.network is not None else None

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        label, inner = context
        self.calls.append(Call(x.detach().clone(), t.clone(), d.clone(), label))
        if self.network is not None:
            return self.network(x, t, d, inner)
        return torch.zeros_like(x) if self.answer is None else self.answer(self.calls[-1])


def wake(network: Network, scale: float = 0.3) -> Network:
    """Give every parameter a random value, as networks start with zeros that would hide what a test looks for."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=scale / max(parameter.shape[-1], 1) ** 0.5 if parameter.ndim > 1 else scale)
    return network


CLASSES = 3


def random_network(scale: float = 0.3, seed: int | None = None) -> Network:
    """A small network for points of three classes, with random weights in double precision."""
    if seed is not None:
        torch.manual_seed(seed)
    config = MLPConfig(width=16, depth=1, condition_width=16)
    return wake(config.build((2,), {"label": Label(CLASSES)}), scale).double()


def batch_of(rows: int, event: tuple[int, ...] = (2,), dtype: torch.dtype = torch.float64) -> Batch:
    """Standard normal data of three classes in turn."""
    return Batch(torch.randn(rows, *event, dtype=dtype), {"label": torch.arange(rows) % CLASSES})
