"""The conditional 1-D U-Net of Diffusion Policy (Chi et al. 2023, arXiv 2303.04137), with the step size as an input."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import annotated_types as at
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Condition, NetworkConfig, T, X
from ..config import PositiveInt, Rule
from ..system.defaults import torch_defaults
from .layers import ConditionedNetwork, ConditionEmbedding, TimeStepEmbedding, add_skip, check_chunk, zeroed
from .observation import ObservationSizes, group_norm


@dataclass(frozen=True)
class UNet1dConfig(ObservationSizes, NetworkConfig):
    """Sizes of a U-Net for action chunks (horizon, action), of any length and any number of coordinates."""

    width: PositiveInt = 64
    """channels of the finest level; each further level doubles them"""
    levels: Annotated[int, at.Ge(1), at.Le(6)] = 2
    """resolutions: the chunk in full, a half of it, a quarter, ..."""
    kernel: Annotated[int, at.Ge(1), Rule(lambda size: size % 2 == 1, "odd")] = 5
    """actions that a convolution sees at once"""
    condition_width: PositiveInt = 256
    """length of the vector that carries time, step size and conditions to every block"""

    @torch_defaults(meta=True)
    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> "UNet1d":
        check_chunk("a 1-D U-Net", shape)
        return UNet1d(self, shape, conditions)


def convolution(inside: int, outside: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution over n: [b, inside, 1, n] -> [b, outside, 1, n / stride], n rounded up.

    The dimension of length 1 is there for speed: weights of four dimensions can have PyTorch's layout `channels_last`,
    in which a CPU takes less time for one chunk.
    """
    return nn.Conv2d(inside, outside, (1, kernel), (1, stride), (0, kernel // 2))


def convolution_block(inside: int, outside: int, kernel: int) -> nn.Module:
    return nn.Sequential(convolution(inside, outside, kernel), group_norm(outside), nn.Mish())


class ResidualBlock(nn.Module):
    """Two convolutions; between them the conditioning vector scales and shifts channels (FiLM, Perez et al. 2018)."""

    def __init__(self, inside: int, outside: int, kernel: int, condition_width: int) -> None:
        super().__init__()
        self.first = convolution_block(inside, outside, kernel)
        self.second = convolution_block(outside, outside, kernel)
        self.modulation = nn.Linear(condition_width, 2 * outside)
        self.shortcut = nn.Identity() if inside == outside else convolution(inside, outside, 1)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, 1)
        return self.shortcut(h) + self.second(torch.addcmul(shift, self.first(h), 1 + scale))


class ResidualBlocks(nn.ModuleList):
    """Two residual blocks, one after the other."""

    def __init__(self, inside: int, outside: int, kernel: int, condition_width: int) -> None:
        super().__init__(ResidualBlock(width, outside, kernel, condition_width) for width in (inside, outside))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        for block in self:
            h = block(h, c)
        return h


class UNet1d(ConditionedNetwork):
    """The network of `UNet1dConfig`.

    As in the published one, what the finest level makes on the way down goes to the next level alone.
    """

    def __init__(self, config: UNet1dConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.config, size = config, shape[1]
        widths = [config.width * 2**level for level in range(config.levels)]
        two = lambda inside, outside: ResidualBlocks(inside, outside, config.kernel, config.condition_width)
        self.embed = TimeStepEmbedding(config.condition_width)
        self.conditions = ConditionEmbedding(conditions, config.condition_width, config)
        self.down = nn.ModuleList(two(*pair) for pair in zip([size, *widths], widths, strict=False))
        self.coarser = nn.ModuleList(convolution(width, width, 3, 2) for width in widths[:-1])
        self.middle = two(widths[-1], widths[-1])
        # From the coarsest level up: what comes from below, beside what went down at the same resolution.
        up = [(2 * coarse, fine) for fine, coarse in itertools.pairwise(widths)]
        self.up = nn.ModuleList(two(*pair) for pair in reversed(up))
        self.finer = nn.ModuleList(
            nn.ConvTranspose2d(width, width, (1, 4), (1, 2), (0, 1)) for width in reversed(widths[:-1])
        )
        self.last = convolution_block(widths[0], widths[0], config.kernel)
        self.proj_out = zeroed(convolution(widths[0], size, 1))
        self.skip = zeroed(nn.Linear(config.condition_width, size))
        self.activation = nn.Mish()

    def shard_units(self) -> Iterable[nn.Module]:
        return [module for module in self.modules() if isinstance(module, ResidualBlock)]

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        c = self.conditioning(t, d, context)
        # Zeros after the last action, as those that convolutions see, until the coarsest level has a whole number.
        h = F.pad(x.mT[:, :, None], (0, -x.shape[1] % 2 ** (self.config.levels - 1)))
        across = []
        for level, blocks in enumerate(self.down):
            across.append(blocks(h, c))
            h = self.coarser[level](across[-1]) if level < len(self.coarser) else across[-1]
        h = self.middle(h, c)
        for blocks, finer in zip(self.up, self.finer, strict=True):
            h = finer(blocks(torch.cat([h, across.pop()], 1), c))
        v = self.proj_out(self.last(h)).squeeze(2).mT[:, : x.shape[1]]
        return add_skip(v, self.skip(c)[:, None], x)
