"""The environments by name. To add one, add a file here and a line to ENVIRONMENTS."""

from collections.abc import Sequence
from typing import Any

from ...config import choose, closest, did_you_mean
from ...errors import UserError
from .base import SEEDS, Box, Environment, Observation, Reset, ScoreError, Step, seed_or_random
from .car_racing import CarRacing
from .gymnasium import GymEnvironment, is_registered, registered_ids
from .meta_world import MetaWorld
from .own import check_without, open_own
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
    "ENVIRONMENTS", "SEEDS", "Box", "CarRacing", "Environment", "GymEnvironment", "MetaWorld", "Observation", "PushT",
    "Reset", "RobomimicLift", "RobomimicTransport", "ScoreError", "Step", "family_of", "is_known", "open_environment",
    "seed_or_random",
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


def is_known(name: str) -> bool:
    """Return whether a name may be opened: it is one of ours, an id of Gymnasium, or module:factory."""
    return name.partition("/")[0] in ENVIRONMENTS or ":" in name or is_registered(name)


def open_environment(
    name: str, observations: Sequence[str] | None = (), *, score: str | None = None,
    max_episode_steps: int | None = None,
) -> Environment:  # fmt: skip
    """Return a new environment.

    Args:
        name: a name in ENVIRONMENTS; family/task where the environment has tasks, meta-world/reach-v3; the id of an
            environment of Gymnasium, Pendulum-v1; or module:factory, a function or class of your own that returns one.
        observations: names that it returns; () for all, None for none.
        score: what judges an episode of Gymnasium, see `GymEnvironment`.
        max_episode_steps: actions after which an episode of Gymnasium ends; None for its own limit.

    Raises:
        UserError: the name is unknown, it cannot be opened, or a package is missing.
    """
    if not is_known(name):
        more = "an id of Gymnasium, or MODULE:FACTORY"
        if not registered_ids():
            more = "MODULE:FACTORY, or an id of Gymnasium with pip install 'shortcut-models[gymnasium]'"
        hint = did_you_mean(closest(name, [*ENVIRONMENTS, *registered_ids()]))
        known = ", ".join(ENVIRONMENTS)
        raise UserError(f"there is no environment {name!r}: {hint}{' ' * bool(hint)}choose one of {known}, {more}")
    if name.partition("/")[0] not in ENVIRONMENTS:
        return open_own(name, observations, score, max_episode_steps)
    family = family_of(name)
    check_without(name, score, max_episode_steps)
    options: dict[str, Any] = {"task": name.partition("/")[2]} if "/" in name else {}
    return ENVIRONMENTS[family](observations, **options)
