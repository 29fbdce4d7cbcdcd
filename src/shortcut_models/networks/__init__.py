"""The networks, by name. A new one is a file here and a line below."""

from collections.abc import Callable
from functools import partial

from ..base import NetworkConfig
from .dit import SIZES, DiT, DiTConfig
from .mlp import MLP, MLPConfig

NETWORKS: dict[str, Callable[..., NetworkConfig]] = {
    "mlp": MLPConfig,
    "dit": DiTConfig,
} | {f"dit-{size}": partial(DiTConfig, **numbers) for size, numbers in SIZES.items()}

__all__ = ["MLP", "NETWORKS", "DiT", "DiTConfig", "MLPConfig"]
