"""The command `shortcut recipes`."""

from dataclasses import dataclass

from .parser import Command


@dataclass(frozen=True, kw_only=True)
class Recipes(Command):
    def __call__(self) -> None:
        from ..recipes.library import RECIPES

        for name, recipe in RECIPES.items():
            print(f"{name}\n    {recipe.about}\n    {recipe.measured}")
