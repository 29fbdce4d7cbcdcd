"""The command `shortcut interpolate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser, whole_number
from .shared import add_run, check_out, open_generator

ABOUT = "draw what lies between pairs of noises"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    add_run(parser)
    parser.add_argument("--steps", type=whole_number, default=1, metavar="N", help="sampling steps (default 1)")
    parser.add_argument("--pairs", type=whole_number, default=8, metavar="N", help="rows; >= 1 (default 8)")
    parser.add_argument("--points", type=whole_number, default=9, metavar="N", help="columns; >= 2 (default 9)")
    parser.add_argument(
        "--label", type=whole_number, metavar="N", help="one class for all (default: one a row, in turn)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the noises; >= 0 (default 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..drawing.png import save_png
    from ..reports.interpolation import interpolate as draw

    check_out(args.out, ".png")
    model = open_generator(args)
    save_png(args.out, draw(model, args.steps, args.pairs, args.seed, args.points, args.label))
    print(args.out)
