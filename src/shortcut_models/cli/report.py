"""The command `shortcut report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser
from .shared import add_run, check_out, open_model

ABOUT = "write a self-contained HTML report of a run and print its path"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    add_run(parser, "a run directory")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="default: RUN/report.html")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..reports.report import write_report

    if args.out is not None:
        check_out(args.out, ".html")
    print(write_report(args.run, open_model(args), args.out))
