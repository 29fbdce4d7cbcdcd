"""What changes a recipe, on the command line and from Python: other parts, options of its parts, the user's data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..base import NetworkConfig, Objective, Task
from ..config import choose, did_you_mean, options
from ..errors import UserError
from ..networks import NETWORKS
from ..objectives import OBJECTIVES, with_shared_options
from ..training.options import Training
from .library import Recipe
from .suggestions import options_meant

PARTS: Mapping[str, type] = {"task": Task, "network": NetworkConfig, "objective": Objective, "training": Training}


def with_parts(recipe: Recipe, **parts: Any) -> tuple[Recipe, set[str]]:
    """Return the recipe with other parts, and what of it was given: "network", "training.warmup", ...

    parts: for each part of a recipe, an instance in its place, a name in place of that of its network or objective,
    options of its own, or None.

    Raises:
        UserError: a part or option of a name does not exist; a value is wrong.
    """
    names = {part: given for part, given in parts.items() if isinstance(given, str)}
    for part in names.keys() - {"network", "objective"}:
        raise UserError(f"{part} has no names: pass an instance, or options, such as {{'seed': 1}}")
    found, given = with_kinds(recipe, names.get("network", ""), names.get("objective", "")), set(names)
    for part, value in parts.items():
        if isinstance(value, Mapping):
            found = with_options(found, part, value)
            given |= {part, *(f"{part}.{name}" for name in value)}
        elif value is not None and part not in names:
            if not isinstance(value, PARTS[part]):
                kind = PARTS[part].__name__
                raise UserError(f"{part} must be a {kind}, a dict of options, or None, not {value!r:.60}")
            found = _replaced(found, part, value)
            given |= {part, *(f"{part}.{option.name}" for option in options(value))}
    return found, given


def with_options(recipe: Recipe, part: str, values: Mapping[str, Any]) -> Recipe:
    """Return the recipe with options of a part. Raises UserError, naming the option that may be meant."""
    config: Any = getattr(recipe, part)
    known = {option.name for option in options(config) if option.settable}
    for name in values:
        if name not in known:
            meant = [flag.removeprefix("--").replace("-", "_") for flag in options_meant(f"--{name}", _flags(known))]
            hint = did_you_mean(meant) or f"choose one of {', '.join(sorted(known))}"
            raise UserError(f"{part} does not have an option {name!r}: {hint}")
    try:
        return _replaced(recipe, part, dataclasses.replace(config, **values))
    except UserError as error:
        raise UserError(f"{part}: {error}") from None


def _replaced(recipe: Recipe, part: str, value: Any) -> Recipe:
    return dataclasses.replace(recipe, **{part: value})


def _flags(names: set[str]) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in names]


def with_kinds(recipe: Recipe, network: str, objective: str) -> Recipe:
    """Return the recipe with another network or method; "", and one of the kind that it has, change nothing."""
    if network:
        make = choose("network", network, NETWORKS)
        if make is not type(recipe.network):
            recipe = dataclasses.replace(recipe, network=make())
    if objective:
        method = choose("objective", objective, OBJECTIVES)
        if method is not type(recipe.objective):
            recipe = dataclasses.replace(recipe, objective=with_shared_options(recipe.objective, method))
    return recipe


def check_guidance(objective: Objective) -> None:
    """Raise UserError for guidance away from a null condition that is not trained."""
    for name in ("guidance", "pair_guidance"):
        if getattr(objective, name) != 1 and not objective.label_dropout:
            option = name.replace("_", "-")
            raise UserError(f"--objective.{option} needs label-dropout above 0, which trains what it guides away from")


def with_places(task: Any, data: str | None, vae: str | None, recipe: str) -> Any:
    """Return the task with the user's data and VAE. Raises UserError where it needs data, or does not take them."""
    if data is not None:
        task = task_at(task, data, f"recipe {recipe}")
    elif getattr(task, "data", "its own") is None:
        raise UserError(f"recipe {recipe} needs your data: pass --data with {task.data_help}")
    if vae is None:
        return task
    if not hasattr(task, "vae"):
        raise UserError(f"recipe {recipe} does not have a VAE: leave --vae out")
    return dataclasses.replace(task, vae=vae)


def task_at(task: Task, data: str, whose: str) -> Task:
    """Return the task with its data at another path. Raises UserError, naming whose task it is, if it has its own."""
    if not hasattr(task, "data"):
        raise UserError(f"{whose} has its own data: leave --data out, or use the recipe `images`")
    return dataclasses.replace(task, data=data)  # type: ignore[type-var]
