"""The command `shortcut compare`."""

from __future__ import annotations

import argparse

from ..options import Parser

ABOUT = "train methods at equal compute and set their samples side by side"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.prefix_chars = "\0"  # every word, options too, goes to the recipe's own parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..compare_cli import compare_command

    compare_command(args.rest)
