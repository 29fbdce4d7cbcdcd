"""The command `shortcut compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..arguments import Parser, whole_number
from ..config import choose
from ..errors import UserError

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..compare.comparison import Comparison

ABOUT = "train methods at equal compute and set their samples side by side"
DEFAULT_SHARE = 0.4
"""of the evaluations of the recipe's own training: the budget where none is given"""


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parser.prefix_chars = "\0"  # every word, options too, goes to the recipe's own parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..compare.report import write_report
    from ..compare.workers import Workers

    comparison, options = read(args.rest)
    trials = {trial.name: trial for trial in comparison.trials}
    if options.trial is not None:
        comparison.run(choose("trial", options.trial, trials), quiet=True)
        return
    comparison.begin()
    print(f"{len(trials)} trainings of {comparison.nfe_budget:,} network evaluations at most", flush=True)
    waiting = [trial for trial in trials.values() if comparison.result(trial) is None]
    with progress(len(trials), len(trials) - len(waiting)) as bar:
        if options.compare_workers == 1:
            for trial in waiting:
                bar.set_postfix_str(trial.name)
                comparison.run(trial, quiet=True)
                bar.update()
        else:
            with Workers(options.compare_workers, args.rest) as workers:
                workers.run_all(comparison, waiting, bar)
    for path in write_report(comparison):
        print(path)


def read(words: Sequence[str]) -> tuple[Comparison, argparse.Namespace]:
    """The words after `shortcut compare` -> what they ask for."""
    from ..compare.comparison import Comparison
    from ..objectives import OBJECTIVES
    from ..recipes.arguments import parse_recipe

    name, recipe, args = parse_recipe(words, "compare", add_compare_options)
    if args.compare_workers < 1:
        raise UserError(f"--workers must be a whole number >= 1, not {args.compare_workers}")
    methods = methods_of(args.objectives)
    if "diffusion" in methods:
        OBJECTIVES["diffusion"]().scheduler()  # type: ignore[attr-defined]  # says so now, where diffusers is missing
    budget = args.compare_nfe_budget
    if budget is None:
        each = recipe.training.batch_size * recipe.objective.nfe_per_example
        budget = round(DEFAULT_SHARE * recipe.training.train_steps * each)
    steps = list(dict.fromkeys(args.compare_steps))
    out = args.out or Path("comparisons") / name
    return Comparison(name, recipe, methods, budget, args.compare_seeds, steps, args.compare_num, out), args


def methods_of(names: Sequence[str]) -> list[str]:
    """Names of methods, each once, `all` standing for the generative ones. Raises UserError where there is no such."""
    from ..objectives import OBJECTIVES

    several = {"all": [name for name, method in OBJECTIVES.items() if method.is_generative]}
    found = dict.fromkeys(method for name in names for method in several.get(name, [name]))
    for method in found:
        choose("objective", method, OBJECTIVES)
    return list(found)


def add_compare_options(parser: Parser) -> None:
    """The options that are not fields of the recipe."""
    from ..objectives import OBJECTIVES

    number: Any = {"type": whole_number, "metavar": "N"}
    parser.add_argument(
        "--objectives", nargs="+", default=["all"], metavar="NAME",
        help=f"all (default; those that are generative), or some of {', '.join(OBJECTIVES)}",
    )  # fmt: skip
    share = f"{DEFAULT_SHARE:.0%}%"
    helps = {
        "nfe_budget": "network evaluations of each training, its teacher included: an example forward counts 1, "
        f"forward and backward 3 (default: {share} of what the recipe's own training takes)",
        "seeds": "trainings of each method; >= 1 (default 1)",
        "num": "samples to judge at each number of steps; >= 1 (default 1000)",
        "workers": "trainings at a time, each on its share of the cores; >= 1 (default 1)",
    }
    defaults = {"seeds": 1, "num": 1000, "workers": 1}
    parser.add_argument(
        "--steps", dest="compare_steps", nargs="+", default=[128, 4, 1],
        help="sampling steps to judge at (default 128 4 1)", **number,
    )  # fmt: skip
    for name, text in helps.items():
        # A name of its own for each value: the recipe's training has an option --workers, too, and it is another one.
        option = name.replace("_", "-")
        parser.add_argument(f"--{option}", dest=f"compare_{name}", default=defaults.get(name), help=text, **number)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where everything goes (default: comparisons/RECIPE)")
    parser.add_argument("--trial", help=argparse.SUPPRESS)  # what a worker process is to do


def progress(total: int, done: int) -> tqdm[NoReturn]:
    """A bar over the trials: live in a terminal, a line now and then in a file."""
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, initial=done, unit="training", mininterval=interval, dynamic_ncols=True)
