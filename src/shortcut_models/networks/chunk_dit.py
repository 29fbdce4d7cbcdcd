"""A diffusion transformer (Peebles and Xie 2023) over a chunk of actions, a token for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import annotated_types as at
import torch

from ..base import Condition, NetworkConfig, T, X
from ..config import PositiveInt
from ..errors import UserError
from ..system.defaults import torch_defaults
from .dit import Transformer, position_features
from .layers import add_skip, check_chunk
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

    @torch_defaults(meta=True)
    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> "ChunkDiT":
        check_chunk("a chunk DiT", shape)
        if self.width % self.heads:
            raise UserError(f"heads {self.heads} does not divide width {self.width}: choose one that does")
        if self.width % 2:
            raise UserError(f"width {self.width} must be even: the position embedding has two parts")
        return ChunkDiT(self, shape, conditions)


class ChunkDiT(Transformer):
    """The network of `ChunkDiTConfig`."""

    def __init__(self, config: ChunkDiTConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        horizon, size = shape
        positions = position_features(torch.arange(horizon), config.width)
        super().__init__(config, conditions, positions, size, size, sizes=config)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        c = self.conditioning(t, d, context)
        return add_skip(self.transform(x, c), self.skip(c)[:, None], x)
