"""The command `shortcut plot`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser, whole_number
from .shared import check_out

ABOUT = "draw the quality of several runs against the number of steps, or the size of the network"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs that have been evaluated")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture")
    against = "steps: a line a run; size, in parameters: a line a number of steps (default steps)"
    parser.add_argument("--against", choices=("steps", "size"), default="steps", help=against)
    parser.add_argument(
        "--steps", type=whole_number, nargs="+", metavar="N", help="only these (default: all that are known)"
    )
    parser.add_argument(
        "--measures", nargs="+", metavar="NAME", help="only these, as fid (default: all that are known)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..reports.side_by_side import plot as draw

    check_out(args.out, ".png")
    draw(args.runs, args.out, args.against, args.steps, args.measures)
    print(args.out)
