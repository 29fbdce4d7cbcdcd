"""A small convolutional U-Net for images, with the step size as a second time.

The shape is that of Ronneberger et al. 2015 (arXiv 1505.04597), the residual blocks are those of diffusion models:
group normalisation and attention as in Ho et al. 2020 (arXiv 2006.11239), scale and shift by the conditioning vector
and last convolutions of zeros as in Dhariwal and Nichol 2021 (arXiv 2105.05233). A share of the input is added to the
output, as in EDM (Karras et al. 2022, arXiv 2206.00364). Convolutions know from the start that neighbours belong
together, which a transformer has to learn: this network makes whole images after few steps, from few images.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import annotated_types as at
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Condition, NetworkConfig, T, X
from ..config import PositiveInt
from ..errors import UserError
from ..system.defaults import torch_defaults
from .dit import attend
from .layers import ConditionedNetwork, ConditionEmbedding, TimeStepEmbedding, add_skip, modulate, zeroed
from .observation import ObservationSizes, group_norm

HEAD = 32  # channels of an attention head, or all where there are fewer


@dataclass(frozen=True)
class UNet2dConfig(ObservationSizes, NetworkConfig):
    """Sizes of a U-Net for images or latents (channels, height, width), of any size."""

    width: PositiveInt = 32
    """channels of the finest level; each further level doubles them"""
    levels: Annotated[int, at.Ge(1), at.Le(6)] = 3
    """resolutions: the finest, a half of it each way, a quarter, ..."""
    patch_size: PositiveInt = 2
    """side of the square of pixels that makes a place of the finest level; 1 is the image's own resolution"""
    depth: PositiveInt = 1
    """residual blocks at each level on the way down, and as many on the way up"""
    attention: bool = True
    """attention between all places of the coarsest level"""
    condition_width: PositiveInt = 256
    """length of the vector that carries time, step size and conditions to every block"""

    @torch_defaults(meta=True)
    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> "UNet2d":
        if len(shape) != 3:
            raise UserError(
                f"a U-Net takes images (channels, height, width), not events of shape {shape}: use network mlp"
            )
        return UNet2d(self, shape, conditions)


def convolution(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1)


class ResidualBlock(nn.Module):
    """Two convolutions, each after a normalisation; the conditioning vector scales and shifts the second of these."""

    def __init__(self, width: int, condition_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(width), group_norm(width)
        self.conv1, self.conv2 = convolution(width, width), zeroed(convolution(width, width))
        self.modulation = nn.Linear(condition_width, 2 * width)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.modulation(c)[:, :, None, None].chunk(2, 1)
        change = self.conv1(F.silu(self.norm1(h)))
        return h + self.conv2(F.silu(modulate(self.norm2(change), shift, scale)))


class ResidualBlocks(nn.ModuleList):
    """Some residual blocks, one after the other."""

    def __init__(self, depth: int, width: int, condition_width: int) -> None:
        super().__init__(ResidualBlock(width, condition_width) for _ in range(depth))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        for block in self:
            h = block(h, c)
        return h


class Attention(nn.Module):
    """Attention between all places; convolutions around it tell them apart, by the zeros outside the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.size = HEAD if width % HEAD == 0 else width
        self.norm = group_norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = zeroed(nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        places = self.norm(h).flatten(2).mT
        q, k, v = self.qkv(places).unflatten(-1, (3, -1, self.size)).permute(2, 0, 3, 1, 4)
        made = self.project(attend(q, k, v, self.size**-0.5).transpose(1, 2).flatten(2))
        return h + made.mT.unflatten(2, h.shape[2:])


class UNet2d(ConditionedNetwork):
    """The network of `UNet2dConfig`.

    What a level made on the way down joins what comes from below by a convolution of single pixels, so that all
    blocks of a level have the same width. Published ones have wider blocks on the way up, at twice the cost.
    """

    def __init__(self, config: UNet2dConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.config, channels = config, shape[0]
        size = channels * config.patch_size**2  # numbers of a place
        widths = [config.width * 2**level for level in range(config.levels)]
        finer_first = list(itertools.pairwise(widths))
        blocks = lambda width: ResidualBlocks(config.depth, width, config.condition_width)
        self.embed = TimeStepEmbedding(config.condition_width)
        self.conditions = ConditionEmbedding(conditions, config.condition_width, config)
        for parameter in self.conditions.labels():
            nn.init.normal_(parameter)  # as in Dhariwal and Nichol: smaller ones take thousands of steps to matter
        self.proj_in = convolution(size, config.width)
        self.down = nn.ModuleList(map(blocks, widths))
        self.coarser = nn.ModuleList(convolution(fine, coarse, 2) for fine, coarse in finer_first)
        self.attention = Attention(widths[-1]) if config.attention else None
        self.up = nn.ModuleList(map(blocks, reversed(widths)))
        self.join = nn.ModuleList(nn.Conv2d(fine + coarse, fine, 1) for fine, coarse in reversed(finer_first))
        self.norm = group_norm(config.width)
        self.proj_out = zeroed(convolution(config.width, size))
        self.skip = zeroed(nn.Linear(config.condition_width, channels))
        self.activation = nn.SiLU()

    def shard_units(self) -> Iterable[nn.Module]:
        return [module for module in self.modules() if isinstance(module, ResidualBlock)]

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        c, (height, width), patch = self.conditioning(t, d, context), x.shape[2:], self.config.patch_size
        # Zeros below and on the right, as those that convolutions see, until the coarsest level has whole places.
        multiple = patch * 2 ** (self.config.levels - 1)
        h = self.proj_in(F.pixel_unshuffle(F.pad(x, (0, -width % multiple, 0, -height % multiple)), patch))
        across = []
        for level, blocks in enumerate(self.down):
            h = blocks(h, c)
            if level < len(self.coarser):
                across.append(h)
                h = self.coarser[level](h)
        if self.attention is not None:
            h = self.attention(h)
        for level, blocks in enumerate(self.up):
            if level:
                h = torch.cat([F.interpolate(h, scale_factor=2.0), across.pop()], 1)
                h = self.join[level - 1](h)
            h = blocks(h, c)
        v = F.pixel_shuffle(self.proj_out(F.silu(self.norm(h))), patch)
        return add_skip(v[:, :, :height, :width], self.skip(c)[:, :, None, None], x)
