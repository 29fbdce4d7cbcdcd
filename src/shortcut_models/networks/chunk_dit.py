"""A diffusion transformer (Peebles and Xie 2023) over a chunk of actions, a token for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import annotated_types as at
import torch
from torch import Tensor, nn

from ..base import Cond, Condition, Network, NetworkConfig, T, X
from ..config import PositiveInt
from ..errors import UserError
from .dit import Block, initialise, position_features
from .layers import ConditionEmbedding, TimeStepEmbedding, check_chunk, modulate
from .observation import ObservationSizes


@dataclass(frozen=True)
class ChunkDiTConfig(ObservationSizes, NetworkConfig):
    """Sizes of a DiT for action chunks (horizon, action), of any length and any number of coordinates."""

    width: PositiveInt = 192
    """channels of a token"""
    depth: PositiveInt = 4
    """blocks"""
    heads: PositiveInt = 4
    """attention heads; must divide width"""
    mlp_ratio: Annotated[float, at.Gt(0)] = 4.0
    """hidden units of the MLP, as a multiple of width"""

    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> ChunkDiT:
        check_chunk("a chunk DiT", shape)
        if self.width % self.heads:
            raise UserError(f"heads {self.heads} does not divide width {self.width}: choose one that does")
        if self.width % 2:
            raise UserError(f"width {self.width} must be even: the position embedding has two parts")
        return ChunkDiT(self, shape, conditions)


class ChunkDiT(Network):
    """The network of `ChunkDiTConfig`."""

    def __init__(self, config: ChunkDiTConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.config, width = config, config.width
        horizon, size = shape
        self.register_buffer("positions", position_features(torch.arange(horizon), width), persistent=False)
        self.proj_in = nn.Linear(size, width)
        self.embed = TimeStepEmbedding(width)
        self.conditions = ConditionEmbedding(conditions, width, config)
        hidden = int(width * config.mlp_ratio)
        self.blocks = nn.ModuleList(Block(width, config.heads, hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.proj_out = nn.Linear(width, size)
        # Velocities are data - noise: a share of x that depends on t and d spares the blocks from carrying the noise.
        self.skip = nn.Linear(width, size)
        self.activation = nn.SiLU()
        initialise(self)

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Any:
        return self.conditions(cond, drop)

    def shard_units(self) -> Iterable[nn.Module]:
        return self.blocks

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        c = self.embed(t, d)
        c = self.activation(c if context is None else c + context)
        h = self.proj_in(x) + self.positions
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, -1)
        v = self.proj_out(modulate(self.norm(h), shift, scale))
        return torch.addcmul(v, self.skip(c)[:, None], x).to(x.dtype)
