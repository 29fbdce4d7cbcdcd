"""The environments by name. To add one, add a file here and a line to ENVIRONMENTS."""

from collections.abc import Sequence
from typing import Any

from ...config import choose
from ...errors import UserError
from .base import SEEDS, Box, Environment, Observation, Reset, Step, seed_or_random
from .car_racing import CarRacing
from .meta_world import MetaWorld
from .push_t import PushT
from .robomimic import RobomimicLift, RobomimicTransport

ENVIRONMENTS: dict[str, type[Environment]] = {
    "car-racing": CarRacing,
    "push-t": PushT,
    "robomimic-lift": RobomimicLift,
    "robomimic-transport": RobomimicTransport,
    "meta-world": MetaWorld,
}

__all__ = [
    "ENVIRONMENTS", "SEEDS", "Box", "CarRacing", "Environment", "MetaWorld", "Observation", "PushT", "Reset",
    "RobomimicLift", "RobomimicTransport", "Step", "family_of", "open_environment", "seed_or_random",
]  # fmt: skip


def family_of(name: str) -> str:
    """Return the name without its task, meta-world for meta-world/reach-v3, or raise UserError if it is unknown."""
    family, slash, task = name.partition("/")
    tasks = getattr(choose("environment", family, ENVIRONMENTS), "tasks", ())
    if slash and not tasks:
        raise UserError(f"{family} has no tasks to choose from: leave /{task} out")
    if tasks:
        choose(f"task of {family}", task, dict.fromkeys(tasks))
    return family


def open_environment(name: str, observations: Sequence[str] | None = ()) -> Environment:
    """Return a new environment.

    Args:
        name: a name in ENVIRONMENTS, or family/task where the environment has tasks: meta-world/reach-v3.
        observations: names that it returns; () for all, None for none.

    Raises:
        UserError: the name is unknown, or a package is missing.
    """
    family = family_of(name)
    options: dict[str, Any] = {"task": name.partition("/")[2]} if "/" in name else {}
    return ENVIRONMENTS[family](observations, **options)
