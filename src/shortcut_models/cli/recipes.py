"""The command `shortcut recipes`."""

from __future__ import annotations

import argparse

from ..arguments import Parser

ABOUT = "list the recipes, with the results measured with them"


def add_arguments(parser: Parser) -> None:
    """The command's options."""


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..recipes.library import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name}\n    {recipe.about}\n    {recipe.measured}")
