"""Models that need no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from shortcut_models.base import Condition, Label, Objective, Vector
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import Images, Toy

from .oracle import GaussianOracle, wake

NAMES = ("daisy", "rose", "tulip")
FLOWERS = Images(image_size=8, channels=3, classes=3, class_names=NAMES)
"""a task of pictures whose data is not here"""


def model_of(task: Any, objective: Objective | None = None, **sizes: Any) -> Model:
    """A model with random weights, the same each time."""
    torch.manual_seed(0)
    network = MLPConfig(**{"width": 16, "depth": 1, "condition_width": 16, **sizes}).build(task.shape, task.conditions)
    return Model(wake(network).eval(), objective or Shortcut(max_steps=16), task, step=7, recipe="mine")


def oracle_model(mean: float = 0.5, std: float = 0.5, objective: Objective | None = None) -> Model:
    """A model of points whose flow is exact."""
    network = GaussianOracle(torch.full((2,), mean), std)
    return Model(network, objective or Shortcut(max_steps=128), Toy())


@dataclass(frozen=True)
class Steered(Toy):
    """Points with a label and a state."""

    class_names = NAMES

    @property
    def conditions(self) -> dict[str, Condition]:
        return {"label": Label(3), "state": Vector(4)}

    def default_cond(self, rows: Any, labels: Any = None) -> dict[str, torch.Tensor]:
        return {**super().default_cond(rows), "state": torch.zeros(len(rows), 4)}
