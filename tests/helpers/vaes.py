"""Small autoencoders with random weights, and images to put through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from .image_files import make_folder, make_tar, pictures, some_labels
from .paths import SHARED as _SHARED

SHARED = _SHARED / "data"
TAESD, CATS = SHARED / "taesd", SHARED / "afhq-cat-256.tar"
SIDE, LATENT = 16, (4, 4, 4)
"""of the images, and what the small autoencoders make of them"""

needs_shared = pytest.mark.skipif(not (TAESD.exists() and CATS.exists()), reason="../shared/data is not here")


def save_kl(folder: Path, **changes: Any) -> str:
    """A random AutoencoderKL: 4 pixels to a latent, scale .5, shift .1."""
    from diffusers import AutoencoderKL

    torch.manual_seed(changes.pop("seed", 0))
    sizes: dict[str, Any] = {
        "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": SIDE, "scaling_factor": 0.5,
        "shift_factor": 0.1, "block_out_channels": (8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
    }  # fmt: skip
    AutoencoderKL(**(sizes | changes)).save_pretrained(folder)
    return str(folder)


def save_tiny(folder: Path, **changes: Any) -> str:
    """A random AutoencoderTiny: 4 pixels to a latent."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(1)
    widths = (8, 8, 8)
    sizes: dict[str, Any] = {
        "encoder_block_out_channels": widths, "decoder_block_out_channels": widths, "latent_channels": 4,
        "num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1),
    }  # fmt: skip
    AutoencoderTiny(**(sizes | changes)).save_pretrained(folder)
    return str(folder)


def photos(root: Path, count: int = 30, *, labelled: bool = True) -> str:
    """A folder of colour images, in three classes."""
    return make_folder(root, pictures(count, SIDE, colour=True), some_labels(count) if labelled else None)


def shards_of_photos(root: Path, count: int = 30) -> str:
    return make_tar(root, pictures(count, SIDE, colour=True), some_labels(count))


def as_batch(images: np.ndarray) -> torch.Tensor:
    """uint8 [n, H, W, C] -> [n, C, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
