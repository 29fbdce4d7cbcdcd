"""A conditional residual MLP, for points, vectors and other small events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..base import Cond, Condition, Network, NetworkConfig, T, X
from ..config import Positive
from .layers import ConditionEmbedding, TimeStepEmbedding, modulate


@dataclass(frozen=True)
class MLPConfig(NetworkConfig):
    """Sizes of a residual MLP with adaptive normalisation; works on events of any shape, flattened."""

    width: Positive = 256
    """units of the residual stream"""
    depth: Positive = 4
    """residual blocks"""
    expansion: Positive = 2
    """hidden units of a block, as a multiple of width"""

    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> MLP:
        return MLP(self, shape, conditions)


class Block(nn.Module):
    """x + gate * MLP(norm(x) * (1 + scale) + shift), with shift, scale and gate from the conditioning vector."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(c).chunk(3, -1)
        return x + gate * self.mlp(modulate(self.norm(x), shift, scale))


class MLP(Network):
    """The network of `MLPConfig`."""

    def __init__(self, config: MLPConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.config = config
        size = math.prod(shape)
        self.embed = TimeStepEmbedding(config.width)
        self.conditions = ConditionEmbedding(conditions, config.width)
        self.inlet = nn.Linear(size, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.expansion * config.width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.outlet = nn.Linear(config.width, size)
        self.activation = nn.SiLU()
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Any:
        return self.conditions(cond, drop)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        c = self.embed(t, d)
        c = self.activation(c if context is None else c + context)
        h = self.inlet(x.flatten(1))
        for block in self.blocks:
            h = block(h, c)
        return self.outlet(self.norm(h)).reshape(x.shape).to(x.dtype)
