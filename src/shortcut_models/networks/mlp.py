"""A conditional residual MLP, for points, vectors and other small events."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..base import Condition, NetworkConfig, T, X
from ..config import PositiveInt
from ..system.defaults import torch_defaults
from .layers import ConditionedNetwork, ConditionEmbedding, TimeStepEmbedding, add_skip, modulate, zeroed
from .observation import ObservationSizes


@dataclass(frozen=True)
class MLPConfig(ObservationSizes, NetworkConfig):
    """Sizes of a residual MLP with adaptive normalisation; works on events of any shape, flattened."""

    width: PositiveInt = 256
    """units of the residual stream"""
    depth: PositiveInt = 4
    """residual blocks"""
    expansion: PositiveInt = 2
    """hidden units of a block, as a multiple of width"""
    condition_width: PositiveInt = 128
    """length of the vector that carries time, step size and conditions to every block"""

    @torch_defaults(meta=True)
    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> "MLP":
        return MLP(self, shape, conditions)


class Block(nn.Module):
    """x + gate * MLP(norm(x) * (1 + scale) + shift), with shift, scale and gate from the conditioning vector."""

    def __init__(self, width: int, hidden: int, condition_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zeroed(nn.Linear(condition_width, 3 * width))
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(c).chunk(3, -1)
        return x + gate * self.mlp(modulate(self.norm(x), shift, scale))


class MLP(ConditionedNetwork):
    """The network of `MLPConfig`."""

    def __init__(self, config: MLPConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.config = config
        size = math.prod(shape)
        self.embed = TimeStepEmbedding(config.condition_width)
        self.conditions = ConditionEmbedding(conditions, config.condition_width, config)
        self.proj_in = nn.Linear(size, config.width)
        hidden = config.expansion * config.width
        self.blocks = nn.ModuleList(Block(config.width, hidden, config.condition_width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.proj_out = zeroed(nn.Linear(config.width, size))
        self.skip = zeroed(nn.Linear(config.condition_width, size))
        self.activation = nn.SiLU()

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        c = self.conditioning(t, d, context)
        flat = x.flatten(1)
        h = self.proj_in(flat)
        for block in self.blocks:
            h = block(h, c)
        return add_skip(self.proj_out(self.norm(h)), self.skip(c), flat).reshape(x.shape)
