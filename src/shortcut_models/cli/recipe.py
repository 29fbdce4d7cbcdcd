"""What the commands that train a recipe have in common: the recipe's name, and the options that change the recipe."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..config import DERIVED, choose, options
from ..errors import UserError
from ..networks import NETWORKS
from ..objectives import OBJECTIVES
from ..recipes.commands import PREFIXES
from ..recipes.library import RECIPES, Recipe
from ..recipes.options import check_guidance, with_kinds, with_places
from .parser import Command, Part, parse


@dataclass(frozen=True, kw_only=True)
class Kinds(Command):
    """The options that decide which other options there are."""

    network: str = ""
    """name of another network, one of those above (default: the recipe's own)"""
    objective: str = ""
    """name of another method, one of those above (default: the recipe's own)"""


@dataclass(frozen=True, kw_only=True)
class RecipeCommand(Kinds):
    """A command on a recipe, with the options of all its parts."""

    WITHOUT: ClassVar[Mapping[str, str]] = {}
    """options of the recipe that the command does not have, and why"""

    name: str = field(metadata=DERIVED)
    recipe: Recipe = field(metadata=DERIVED)
    """with all options applied"""
    words: tuple[str, ...] = field(metadata=DERIVED)
    """as given"""
    given: frozenset[str] = field(metadata=DERIVED)
    """what of the recipe was given: "network", "training.warmup", ..."""
    data: str | None = None
    """your own data, for recipes that take it: a path, or hf:NAME"""
    vae: str | None = None
    """folder or Hub name of the VAE, for recipes on latents"""

    @classmethod
    def read(cls, words: Sequence[str], prog: str, about: str) -> Command:
        """Return the command; see `Command.read`. The first word is the recipe's name."""
        if not words or words[0] in ("-h", "--help"):
            about += f"; `{prog} RECIPE --help` lists the options of a recipe"
            parse([Part(cls)], words, f"{prog} RECIPE", f"{about}\n\nrecipes: {', '.join(RECIPES)}\n\n{names()}")
            raise UserError(f"RECIPE is missing (see `{prog} --help`)")
        name, *rest = words
        if name.startswith("-"):
            raise UserError(f"the recipe comes first, not {name!r}: {prog} RECIPE [options]")
        recipe, prog = choose("recipe", name, RECIPES), f"{prog} {name}"
        (kinds,) = parse([Part(Kinds)], rest, prog, others=True)
        recipe = with_kinds(recipe, **kinds)
        parts = [Part(getattr(recipe, part), part, prefix) for part, prefix in PREFIXES.items()]
        about = f"{recipe.about}. {recipe.measured}\n\n{names()}"
        given, *changes = parse([Part(cls), *parts], rest, prog, about, without=cls.WITHOUT)
        for part, values in zip(parts, changes, strict=True):
            recipe = dataclasses.replace(recipe, **{part.title: part.build(values)})
        if recipe.objective.requires == "data" or given.get("teacher") is None:  # this command trains what is guided
            check_guidance(recipe.objective)
        recipe = dataclasses.replace(recipe, task=with_places(recipe.task, given["data"], given["vae"], name))
        about_it = {"name": name, "recipe": recipe, "words": tuple(words), "given": _given(parts, rest, kinds)}
        return Part(cls).build({**given, **about_it})


def _given(parts: Sequence[Part], words: Sequence[str], kinds: Mapping[str, str | None]) -> frozenset[str]:
    """Return what of the recipe the words give, also where that is what it has: "network", "training.warmup", ..."""
    flags = {word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")}
    found = {kind for kind, name in kinds.items() if name}
    for part in parts:
        for option in options(part.config):
            if flags & {option.flag(part.prefix, value) for value in (True, False)}:
                found |= {part.title, f"{part.title}.{option.name}"}
    return frozenset(found)


def names() -> str:
    """Return the names of the networks and methods, those of the user's program included."""
    return f"networks: {', '.join(NETWORKS)}\n\nmethods: {', '.join(OBJECTIVES)}"
