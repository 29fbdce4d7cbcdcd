"""Named configurations, each with the result that was measured with it. A new one is an entry below."""

from __future__ import annotations

from dataclasses import dataclass

from .base import NetworkConfig, Objective, Task
from .networks import MLPConfig
from .objectives import Shortcut
from .tasks import Digits, Toy
from .training import Training


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how."""

    about: str
    task: Task
    network: NetworkConfig
    objective: Objective
    training: Training
    measured: str = "not measured yet"
    """the result, with its command, machine and date"""


def _toy(distribution: str, measured: str = "not measured yet") -> Recipe:
    return Recipe(
        about=f"2-D points: {distribution.replace('-', ' ')}",
        task=Toy(distribution),  # type: ignore[arg-type]
        network=MLPConfig(width=256, depth=4, condition_width=64),
        objective=Shortcut(bootstrap_share=0.5),
        training=Training(
            steps=6000, batch_size=1024, learning_rate=2e-3, weight_decay=0.0, snapshots=60, checkpoint_every=2000
        ),
        measured=measured,
    )


RECIPES: dict[str, Recipe] = {
    "digits": Recipe(
        about="handwritten digits, 8x8, with labels; needs no download",
        task=Digits(),
        network=MLPConfig(width=512, depth=4),
        objective=Shortcut(bootstrap_share=0.5),
        training=Training(steps=4000, batch_size=512, learning_rate=2e-3, weight_decay=0.0),
    ),
    "four-gaussians": _toy("four-gaussians"),
    "checkerboard": _toy("checkerboard"),
    "moons": _toy("moons"),
    "spirals": _toy("spirals"),
}
