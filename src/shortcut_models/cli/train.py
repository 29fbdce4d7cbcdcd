"""The command `shortcut train`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser
from ..system.torchrun import once_per_job

ABOUT = "train a recipe, or go on with a run that was stopped"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.prefix_chars = "\0"  # every word, options too, goes to the recipe's own parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..recipes.arguments import parse_recipe
    from ..recipes.train import train_recipe
    from ..tasks import Imitation

    name, recipe, options = parse_recipe(args.rest, "train", add_train_options)
    run = options.run or Path("runs") / name
    train_recipe(name, recipe, run, options.teacher, init_from=options.init_from)
    acts = isinstance(recipe.task, Imitation)
    next_one = f"rollout {run} --steps 1 4" if acts else f"sample {run} --steps 1 4 --out samples.npz"
    done = f"{run} is trained: try `shortcut {next_one}` or `shortcut evaluate {run}`"
    if once_per_job(done):
        print(done)


def add_train_options(parser: Parser) -> None:
    """The options that are not fields of the recipe."""
    parser.add_argument("--run", type=Path, metavar="DIR", help="the run's directory (default: runs/RECIPE)")
    parser.add_argument(
        "--teacher", type=Path, metavar="RUN",
        help="a trained run or model file, for objectives that learn from one (default: half of the steps train one)",
    )  # fmt: skip
    parser.add_argument(
        "--init-from", type=Path, metavar="RUN",
        help="a trained run or model file whose weights the network begins with, a flow-matching model for instance",
    )  # fmt: skip
