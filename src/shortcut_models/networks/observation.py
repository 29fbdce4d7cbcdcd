"""Encoders of observations, images and vectors. They run once for each decision of a policy, not once for each step."""

import math
from dataclasses import dataclass
from typing import Annotated

import annotated_types as at
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..base import Frames
from ..config import PositiveInt
from ..errors import UserError

PATCH, STRIDE = 8, 4  # of the first convolution: the side of its kernel, and how far apart it is applied, in pixels


@dataclass(frozen=True, kw_only=True)
class ObservationSizes:
    """The part of a network's configuration that its image encoders have, one for each camera."""

    image_width: PositiveInt = 32
    """channels of the image encoder's first convolution; each of its stages doubles them"""
    image_stages: Annotated[int, at.Ge(1), at.Le(5)] = 2
    """stages of the image encoder; the first has a place for every 4 x 4 pixels, each further half as many each way"""
    image_depth: PositiveInt = 1
    """residual blocks in each stage of the image encoder"""
    keypoints: PositiveInt = 64
    """points that the image encoder finds in a camera's images; their coordinates are all that it passes on"""


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group normalisation in 8 groups, or in as many as the number of channels allows."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


def vector_encoder(size: int, width: int) -> nn.Module:
    """Return an MLP: vectors [b, size] -> [b, width]."""
    return nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width))


class SpatialSoftmax(nn.Module):
    """Feature maps -> for each, the mean position [b, 2 * channels] under its soft-max (Levine et al. 2016, eq. 3).

    All x come first, then all y. The centres of the first and of the last cell are at -1 and 1.
    """

    x: Tensor
    y: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("x", torch.linspace(-1, 1, width), persistent=False)
        self.register_buffer("y", torch.linspace(-1, 1, height), persistent=False)

    def forward(self, maps: Float[Tensor, "b channels height width"]) -> Float[Tensor, "b coordinates"]:
        share = maps.flatten(2).softmax(-1).unflatten(2, maps.shape[2:])
        return torch.cat([(share.sum(2) * self.x).sum(-1), (share.sum(3) * self.y).sum(-1)], 1)


class ImageBlock(nn.Module):
    """A residual block of two convolutions, each after group normalisation and SiLU (He et al. 2016)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(inside), group_norm(outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        same = inside == outside and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride)

    def forward(self, h: Tensor) -> Tensor:
        change = self.conv1(F.silu(self.norm1(h)))
        return self.shortcut(h) + self.conv2(F.silu(self.norm2(change)))


class ImageEncoder(nn.Module):
    """The last images of a camera [b, history, channels, height, width] in [-1, 1] -> a vector [b, width].

    The images of the history are the channels of one: the first convolution sees what moved, and all further ones cost
    as much as those of a single image. Residual blocks follow, then a spatial soft-max, and a small MLP of the points
    found. Raises UserError for images that are too small for the number of stages.
    """

    def __init__(self, frames: Frames, sizes: ObservationSizes, width: int) -> None:
        super().__init__()
        channels = sizes.image_width
        self.proj_in = nn.Conv2d(frames.history * frames.channels, channels, PATCH, STRIDE, (PATCH - STRIDE) // 2)
        rows, columns = frames.height // STRIDE, frames.width // STRIDE
        blocks = []
        for stage in range(sizes.image_stages):
            stride = 2 if stage else 1
            blocks.append(ImageBlock(channels, sizes.image_width * 2 ** (stage + 1), stride))
            channels = sizes.image_width * 2 ** (stage + 1)
            blocks += [ImageBlock(channels, channels, 1) for _ in range(1, sizes.image_depth)]
            rows, columns = -(-rows // stride), -(-columns // stride)
        if min(rows, columns) < 2:
            raise UserError(
                f"images of {frames.height} x {frames.width} pixels are too small for image-stages "
                f"{sizes.image_stages}: choose fewer, or larger images"
            )
        self.blocks = nn.Sequential(*blocks)
        maps = nn.Conv2d(channels, sizes.keypoints, 1)
        # Soft-maxes of nearly even maps put all points into the middle, and hardly learn from there.
        nn.init.normal_(maps.weight, std=2 / channels**0.5)
        self.proj_out = nn.Sequential(group_norm(channels), nn.SiLU(), maps)
        self.points = SpatialSoftmax(rows, columns)
        self.mlp = vector_encoder(2 * sizes.keypoints, width)

    def forward(self, images: Float[Tensor, "b history channels height across"]) -> Float[Tensor, "b width"]:
        return self.mlp(self.points(self.proj_out(self.blocks(self.proj_in(images.flatten(1, 2))))))
