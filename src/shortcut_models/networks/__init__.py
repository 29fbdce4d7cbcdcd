"""The networks, by name. A new one is a file here and a line below."""

from collections.abc import Callable
from functools import partial

from ..base import NetworkConfig
from .chunk_dit import ChunkDiT, ChunkDiTConfig
from .dit import SIZES, DiT, DiTConfig
from .mlp import MLP, MLPConfig
from .unet1d import UNet1d, UNet1dConfig
from .unet2d import UNet2d, UNet2dConfig

NETWORKS: dict[str, Callable[..., NetworkConfig]] = {
    "mlp": MLPConfig,
    "dit": DiTConfig,
    "unet": UNet2dConfig,
    "unet1d": UNet1dConfig,
    "chunk-dit": ChunkDiTConfig,
}
for _size, (_width, _depth, _heads) in SIZES.items():
    NETWORKS[f"dit-{_size}"] = partial(DiTConfig, width=_width, depth=_depth, heads=_heads)

__all__ = ["MLP", "NETWORKS", "SIZES", "ChunkDiT", "ChunkDiTConfig", "DiT", "DiTConfig", "MLPConfig", "UNet1d",
           "UNet1dConfig", "UNet2d", "UNet2dConfig"]  # fmt: skip
