"""A recipe's name and the options that change it, as words of a command line."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence

from ..arguments import Parser, add_options, apply_options
from ..base import Objective, Task
from ..config import choose
from ..errors import UserError
from ..networks import NETWORKS
from ..objectives import OBJECTIVES, with_shared_options
from .library import RECIPES, Recipe


def parse_recipe(
    words: Sequence[str], command: str, add_own: Callable[[Parser], None]
) -> tuple[str, Recipe, argparse.Namespace]:
    """The words after `shortcut COMMAND` -> the recipe's name, the recipe with all options applied, the rest.

    Two readings: the first finds recipe, network and objective, as they decide which options there are.

    add_own: adds the command's own options to a parser.
    """
    prog = f"shortcut {command}"
    first, full = Parser(prog=prog, add_help=False), Parser(prog=prog, conflict_handler="resolve")
    first.add_argument("recipe", nargs="?")
    for parser in (first, full):
        parser.add_argument("--network", metavar="NAME", help=f"another network: {', '.join(NETWORKS)}")
        parser.add_argument("--objective", metavar="NAME", help=f"another method: {', '.join(OBJECTIVES)}")
    full.add_argument("recipe", metavar="RECIPE", help=", ".join(RECIPES))
    full.add_argument("--data", metavar="PATH", help="your own data, for recipes that take it: a path, or hf:NAME")
    full.add_argument("--vae", metavar="NAME", help="the VAE's folder or Hub name, for recipes on latents")
    known, _ = first.parse_known_args(words)
    if known.recipe is None or words[0] in ("-h", "--help"):
        add_own(full)
        full.parse_args(words)
    if words[0] != known.recipe:
        raise UserError(f"the recipe comes first, not {words[0]!r}: {prog} RECIPE [options]")
    recipe = choose("recipe", known.recipe, RECIPES)
    for part, registry in (("network", NETWORKS), ("objective", OBJECTIVES)):
        if getattr(known, part) is not None:
            make = choose(part, getattr(known, part), registry)
            if make is not type(getattr(recipe, part)):  # to name what the recipe has already changes nothing
                other = with_shared_options(recipe.objective, make) if part == "objective" else make()
                recipe = dataclasses.replace(recipe, **{part: other})

    full.prog = f"{prog} {known.recipe}"
    full.description = f"{recipe.about}. {recipe.measured}"
    parts = {"task": "task.", "network": "network.", "objective": "objective.", "training": ""}
    for part, prefix in parts.items():
        add_options(full, part, getattr(recipe, part), prefix)
    add_own(full)  # last, so that an option of the command's own stands in for the recipe's of that name
    args = full.parse_args(words)
    for part, prefix in parts.items():
        recipe = dataclasses.replace(recipe, **{part: apply_options(args, getattr(recipe, part), prefix)})
    if recipe.objective.requires == "data" or getattr(args, "teacher", None) is None:  # which trains it, as told here
        check_guidance(recipe.objective)
    if args.vae is not None:
        recipe = dataclasses.replace(recipe, task=task_with(recipe.task, args.vae, f"recipe {known.recipe}"))
    return known.recipe, with_data(known.recipe, recipe, args.data), args


def check_guidance(objective: Objective) -> None:
    """Raise UserError where what is trained without a null condition would be guided away from it."""
    for name in ("guidance", "pair_guidance"):
        if getattr(objective, name) != 1 and not objective.label_dropout:
            option = name.replace("_", "-")
            raise UserError(f"--objective.{option} needs label-dropout above 0, which trains what it guides away from")


def with_data(name: str, recipe: Recipe, data: str | None) -> Recipe:
    """The recipe with the user's data, where it takes any. Raises UserError where one has what the other lacks."""
    if data is not None:
        return dataclasses.replace(recipe, task=task_at(recipe.task, data, f"recipe {name}"))
    if getattr(recipe.task, "data", "its own") is None:
        raise UserError(f"recipe {name} needs your data: give --data with {recipe.task.data_help}")
    return recipe


def task_at(task: Task, data: str, whose: str) -> Task:
    """The task with its data at another path. Raises UserError, naming whose task it is, where it has its own data."""
    if not hasattr(task, "data"):
        raise UserError(f"{whose} has its own data: leave --data out, or use the recipe `images`")
    return dataclasses.replace(task, data=data)  # type: ignore[type-var]


def task_with(task: Task, vae: str, whose: str) -> Task:
    """The task with its VAE at another place. Raises UserError, naming whose task it is, where it has none."""
    if not hasattr(task, "vae"):
        raise UserError(f"{whose} has no VAE: leave --vae out")
    return dataclasses.replace(task, vae=vae)  # type: ignore[type-var]
