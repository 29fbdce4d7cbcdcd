"""The command `shortcut animate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser
from .shared import check_out

ABOUT = "draw a 2-D run's learning as GIFs: the rainbow, and raw weights against EMA"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.gif", help="the rainbow; FILE-flow.gif beside it"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..reports.animation import animate as draw

    check_out(args.out, ".gif")
    for path in draw(args.run, args.out):
        print(path)
