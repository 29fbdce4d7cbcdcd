"""The environments, by name. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...config import choose
from ...errors import UserError
from .base import SEEDS, Environment, Observation
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
    "ENVIRONMENTS",
    "SEEDS",
    "CarRacing",
    "Environment",
    "MetaWorld",
    "Observation",
    "PushT",
    "RobomimicLift",
    "RobomimicTransport",
    "family_of",
    "open_environment",
]


def family_of(name: str) -> str:
    """An environment's name without its task, that of its entry in a registry: meta-world/reach-v3 -> meta-world.

    Raises UserError, with those there are, where there is none of this name.
    """
    family, slash, task = name.partition("/")
    tasks = getattr(choose("environment", family, ENVIRONMENTS), "tasks", ())
    if slash and not tasks:
        raise UserError(f"{family} has no tasks to choose from: leave /{task} out")
    if tasks:
        choose(f"task of {family}", task, dict.fromkeys(tasks))
    return family


def open_environment(name: str, observations: Sequence[str] | None = ()) -> Environment:
    """An environment by name; one of several tasks by family/task, as meta-world/reach-v3.

    observations: the names that it is to show, () for all, None for none.

    Raises UserError for a name there is not, and where a package is missing.
    """
    family = family_of(name)
    given: dict[str, Any] = {"task": name.partition("/")[2]} if "/" in name else {}
    return ENVIRONMENTS[family](observations, **given)
