"""A tiny network with the layers of FID's Inception, as the TorchScript file that holds them, and the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from shortcut_models.errors import UserError
from shortcut_models.evaluation.inception import find

WIDTH = 2
"""channels of every convolution"""
FEATURES = 6 * WIDTH
"""its number of features: the last block has six convolutions side by side"""

Kernel = tuple[int, int]
ONE, THREE, FIVE, FLAT, TALL = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def kernels() -> dict[str, tuple[int, Kernel]]:
    """Of each convolution: how many times WIDTH channels it takes (0: the image's three), and its kernel."""
    found: dict[str, tuple[int, Kernel]] = {"conv": (0, THREE)}
    for i, kernel in enumerate((THREE, THREE, ONE, THREE), 1):
        found[f"conv_{i}"] = (1, kernel)

    def tower(name: str, takes: int, *shape: Kernel) -> None:
        for i, kernel in enumerate(shape):
            found[f"{name}.conv{f'_{i}' if i else ''}"] = (1 if i else takes, kernel)

    for name, takes in (("mixed", 1), ("mixed_1", 4), ("mixed_2", 4)):
        tower(name, takes, ONE)
        tower(f"{name}.tower", takes, ONE, FIVE)
        tower(f"{name}.tower_1", takes, ONE, THREE, THREE)
        tower(f"{name}.tower_2", takes, ONE)
    tower("mixed_3", 4, THREE)
    tower("mixed_3.tower", 4, ONE, THREE, THREE)
    for name, takes in (("mixed_4", 6), ("mixed_5", 4), ("mixed_6", 4), ("mixed_7", 4)):
        tower(name, takes, ONE)
        tower(f"{name}.tower", takes, ONE, FLAT, TALL)
        tower(f"{name}.tower_1", takes, ONE, TALL, FLAT, TALL, FLAT)
        tower(f"{name}.tower_2", takes, ONE)
    tower("mixed_8.tower", 4, ONE, THREE)
    tower("mixed_8.tower_1", 4, ONE, FLAT, TALL, THREE)
    for name in ("mixed_9", "mixed_10"):
        for part in ("conv", "tower_conv", "tower_1_conv", "tower_2_conv"):
            found[f"{name}.{part}"] = (6, ONE)
        found[f"{name}.tower_1_conv_1"] = (1, THREE)
        for part in ("tower", "tower_1"):
            found[f"{name}.{part}_mixed_conv"] = (1, (1, 3))
            found[f"{name}.{part}_mixed_conv_1"] = (1, (3, 1))
    return found


def weights(width: int = WIDTH, seed: int = 0) -> dict[str, Tensor]:
    """Random ones, by the names that they have in the file."""
    source, found = torch.Generator().manual_seed(seed), {}
    for name, (takes, kernel) in kernels().items():
        shape = (width, takes * width or 3, *kernel)
        found[f"{name}.weight"] = torch.randn(shape, generator=source) * (2 / (shape[1] * kernel[0] * kernel[1])) ** 0.5
        found[f"{name}.beta"] = torch.rand(width, generator=source)
        found[f"{name}.mean"] = 0.1 * torch.randn(width, generator=source)
        found[f"{name}.var"] = 0.5 + torch.rand(width, generator=source)
    return found


class Holder(nn.Module):
    """A place in a tree of names."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def save(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write tensors as a TorchScript file, below `net.layers.`."""
    root = Holder()
    for name, value in tensors.items():
        place: nn.Module = root
        *folders, leaf = f"net.layers.{name}".split(".")
        for folder in folders:
            if folder not in dict(place.named_children()):
                place.add_module(folder, Holder())
            place = place.get_submodule(folder)
        place.register_parameter(leaf, nn.Parameter(value))
    torch.jit.script(root).save(str(path))
    return path


def tiny_inception(path: Path, width: int = WIDTH, seed: int = 0) -> Path:
    """Write the tiny network's file."""
    return save(path, weights(width, seed))


def real_inception() -> Path:
    """The real network's file; a test is skipped where it is not installed."""
    try:
        return find()
    except UserError as error:
        pytest.skip(str(error))
