"""2-D distributions, to watch a model learn: points are used as they are."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..base import Task, X
from ..config import PositiveInt
from ..data.arrays import ArrayDataset
from ..metrics import sliced_wasserstein
from ..randomness import generator

Distribution = Literal["four-gaussians", "checkerboard", "moons", "spirals"]


def _four_gaussians(u: Tensor, z: Tensor) -> Tensor:
    """Place four Gaussians in a cross: at distance 1 on the axes, standard deviation 0.1."""
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    return centres[(u[:, 0] * 4).long()] + 0.1 * z


def _checkerboard(u: Tensor, z: Tensor) -> Tensor:
    """Fill the eight black squares of a 4 x 4 board on [-2, 2]."""
    row, column = (u[:, 0] * 4).floor(), (u[:, 1] * 2).floor()
    corner = torch.stack([2 * column + row % 2, row], 1) - 2
    return corner + u[:, 2:4]


def _moons(u: Tensor, z: Tensor) -> Tensor:
    """Draw two interleaved half circles of radius 1, with noise 0.08."""
    angle, upper = math.pi * u[:, 0], u[:, 1] < 0.5
    arc = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.tensor([1.0, 0.5]) - arc
    return torch.where(upper[:, None], arc, lower) - torch.tensor([0.5, 0.25]) + 0.08 * z


def _spirals(u: Tensor, z: Tensor) -> Tensor:
    """Draw two arms of 1.5 turns out to radius 2, with noise 0.05."""
    turn = 3 * math.pi * u[:, 0].sqrt()
    arm = torch.stack([turn.cos(), turn.sin()], 1) * (2 * turn / (3 * math.pi))[:, None]
    return torch.where(u[:, 1:2] < 0.5, arm, -arm) + 0.05 * z


DISTRIBUTIONS = {
    "four-gaussians": _four_gaussians,
    "checkerboard": _checkerboard,
    "moons": _moons,
    "spirals": _spirals,
}
SPLITS = {"train": 0, "test": 1}


@dataclass(frozen=True)
class Toy(Task):
    """Points of a 2-D distribution."""

    preview_grid: ClassVar[tuple[int, int]] = (2000, 1)
    primary_metric: ClassVar[str] = "sliced_wasserstein"

    distribution: Distribution = "four-gaussians"
    """the shape that the points form"""
    size: PositiveInt = 100_000
    """number of points of the training set; the test set is as large, and of other draws"""

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def points(self, count: int, seed: int) -> Tensor:
        """Return points [count, 2] of the distribution."""
        g = generator(seed, 2)
        return DISTRIBUTIONS[self.distribution](torch.rand(count, 4, generator=g), torch.randn(count, 2, generator=g))

    def dataset(self, split: str) -> ArrayDataset:
        return ArrayDataset(self.points(self.size, SPLITS[split]), {})

    def encode(self, raw: Tensor) -> X:
        return raw

    def decode(self, x: X) -> np.ndarray:
        return x.float().cpu().numpy()

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the sliced Wasserstein distance to as many fresh points."""
        fresh = self.points(len(samples), SPLITS["test"]).numpy()
        return {"sliced_wasserstein": sliced_wasserstein(samples, fresh)}

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        from ..drawing.points import scatter

        return scatter(samples, where=self.points(self.preview_grid[0], SPLITS["test"]).numpy())
