"""The diffusion transformer, DiT (Peebles and Xie 2023), with the step size as a second time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import annotated_types as at
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..base import Condition, Network, NetworkConfig, T, X
from ..config import PositiveInt
from ..errors import UserError
from ..system.defaults import torch_defaults
from .layers import (
    ConditionedNetwork,
    ConditionEmbedding,
    OriginalTimeStepEmbedding,
    TimeStepEmbedding,
    add_skip,
    modulate,
)
from .observation import ObservationSizes


@dataclass(frozen=True)
class DiTConfig(NetworkConfig):
    """Sizes of a DiT for images or latents (channels, height, width)."""

    width: PositiveInt = 384
    """channels of a token"""
    depth: PositiveInt = 12
    """blocks"""
    heads: PositiveInt = 6
    """attention heads; must divide width"""
    patch_size: PositiveInt = 2
    """side of the square of pixels that makes a token; must divide height and width of the image"""
    mlp_ratio: Annotated[float, at.Gt(0)] = 4.0
    """hidden units of the MLP, as a multiple of width"""
    checkpointing: bool = False
    """recompute each block in the backward pass instead of keeping its activations: less memory, a third more time"""
    variant: Literal["ours", "original"] = "ours"
    """original: time features and attention scores as in the paper's own code, whose checkpoints need them"""

    @classmethod
    def original(cls, *, width: int, depth: int, heads: int, patch_size: int, mlp_ratio: float = 4.0) -> "DiTConfig":
        """Return the network of the paper's own code, to load its checkpoints and to train as it does.

        It differs from ours in the sinusoids of t and d, where t in [0, 1] meets periods that were made for 0..1000,
        and in the attention scores, which are divided by the width of a head and not by its square root.
        """
        return cls(width, depth, heads, patch_size, mlp_ratio, variant="original")

    @torch_defaults(meta=True)
    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> "DiT":
        if len(shape) != 3:
            raise UserError(
                f"a DiT takes images (channels, height, width), not events of shape {shape}: use network mlp"
            )
        if shape[1] % self.patch_size or shape[2] % self.patch_size:
            raise UserError(
                f"patch-size {self.patch_size} does not divide {shape[1]} x {shape[2]} pixels: choose one that does"
            )
        if self.width % self.heads:
            raise UserError(f"heads {self.heads} does not divide width {self.width}: choose one that does")
        if self.width % 4:
            raise UserError(f"width {self.width} must be a multiple of 4: the position embedding has four parts")
        return DiT(self, shape, conditions)


SIZES = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "xl": (1152, 28, 16)}
"""Width, depth and heads of the published sizes (Peebles and Xie 2023, table 1)."""
SHORT = 512
"""tokens up to which attention in bfloat16 on a CPU is two matrix products, whose scores take tokens^2 memory"""


def position_features(positions: Tensor, width: int) -> Tensor:
    """Return fixed sinusoids [n, width] of positions [n]; wavelengths 2 pi to 10000 * 2 pi."""
    frequencies = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1).float()


def position_embedding(width: int, rows: int, columns: int) -> Tensor:
    """Return fixed 2-D sinusoids [rows * columns, width], the column's half first."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.cat([position_features(each.flatten(), width // 2) for each in (x, y)], 1)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Return softmax attention over tensors [b, heads, tokens, features], with scores q k times `scale`.

    PyTorch's fused kernel for CPUs leaves their bfloat16 units idle in the backward pass: two plain products and a
    softmax take a fifth of its time.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] <= SHORT:
        return ((q * scale) @ k.mT).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


class Block(nn.Module):
    """Attention and MLP, each normalised, shifted, scaled and gated by the conditioning vector (adaLN-Zero).

    power: of a head's width, by which attention scores are multiplied.
    """

    def __init__(self, width: int, heads: int, hidden: int, power: float = -0.5) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** power
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.modulation = nn.Linear(width, 6 * width)

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.project(attend(q, k, v, self.scale).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, -1)
        x = torch.addcmul(x, gate1, self.attention(modulate(self.norm1(x), shift1, scale1)))
        return torch.addcmul(x, gate2, self.mlp(modulate(self.norm2(x), shift2, scale2)))


def initialise(network: Network) -> None:
    """Set linear layers after Xavier, gates and output to zero, so that every block starts as the identity."""
    linear = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    for module in linear.values():
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    for name, module in linear.items():
        if name.startswith("embed."):
            nn.init.normal_(module.weight, std=0.02)
        if name.endswith(("modulation", "proj_out", "skip")):
            nn.init.zeros_(module.weight)


class Transformer(ConditionedNetwork):
    """Blocks over tokens with fixed positions, and a last layer that is modulated as they are."""

    positions: Tensor
    skip: Any
    checkpointing = False  # whether to recompute each block in the backward pass

    def __init__(
        self, config: Any, conditions: Mapping[str, Condition], positions: Tensor, size: int, channels: int,
        sizes: ObservationSizes | None = None, original: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config, width = config, config.width
        self.register_buffer("positions", positions, persistent=False)
        self.proj_in = nn.Linear(size, width)
        self.embed = (OriginalTimeStepEmbedding if original else TimeStepEmbedding)(width)
        self.conditions = ConditionEmbedding(conditions, width, sizes)
        hidden, power = int(width * config.mlp_ratio), -1.0 if original else -0.5
        self.blocks = nn.ModuleList(Block(width, config.heads, hidden, power) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.proj_out = nn.Linear(width, size)
        self.skip = None if original else nn.Linear(width, channels)
        self.activation = nn.SiLU()
        initialise(self)

    def transform(
        self, tokens: Float[Tensor, "b tokens size"], c: Float[Tensor, "b width"]
    ) -> Float[Tensor, "b tokens size"]:
        """Return the tokens after all blocks."""
        h = self.proj_in(tokens) + self.positions
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                h = checkpoint(block, h, c, use_reentrant=False)
            else:
                h = block(h, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, -1)
        return self.proj_out(modulate(self.norm(h), shift, scale))


class DiT(Transformer):
    """The network of `DiTConfig`."""

    def __init__(self, config: DiTConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        (channels, height, across), p = shape, config.patch_size
        grid = (height // p, across // p)
        positions, original = position_embedding(config.width, *grid), config.variant == "original"
        super().__init__(config, conditions, positions, channels * p * p, channels, original=original)
        self.grid, self.checkpointing = grid, config.checkpointing

    def patchify(self, x: X) -> Tensor:
        """Cut [b, C, H, W] into tokens [b, n, C * p * p], row by row."""
        return F.pixel_unshuffle(x, self.config.patch_size).flatten(2).mT

    def unpatchify(self, tokens: Tensor) -> X:
        """Undo `patchify`."""
        return F.pixel_shuffle(tokens.mT.unflatten(2, self.grid).contiguous(), self.config.patch_size)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        c = self.conditioning(t, d, context)
        v = self.unpatchify(self.transform(self.patchify(x), c))
        return v.to(x.dtype) if self.skip is None else add_skip(v, self.skip(c)[:, :, None, None], x)
