"""`shortcut compare`: the options, and trials in worker processes."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from .compare import Comparison, Trial, begin, finished, run_trial
from .errors import Stopped, UserError
from .objectives import OBJECTIVES
from .options import Parser, choose, whole_number
from .recipe_options import parse_recipe

DEFAULT_SHARE = 0.4
"""of the evaluations of the recipe's own training: the budget where none is given"""


def add_compare_options(parser: Parser) -> None:
    number: Any = {"type": whole_number, "metavar": "N"}
    parser.add_argument(
        "--objectives", nargs="+", default=["all"], metavar="NAME",
        help=f"all (default; those that are generative), or some of {', '.join(OBJECTIVES)}",
    )  # fmt: skip
    share = f"{DEFAULT_SHARE:.0%}%"
    helps = {
        "budget": "network evaluations of each training, its teacher included: an example forward counts 1, forward "
        f"and backward 3 (default: {share} of what the recipe's own training takes)",
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
        parser.add_argument(f"--{name}", dest=f"compare_{name}", default=defaults.get(name), help=text, **number)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where everything goes (default: comparisons/RECIPE)")
    parser.add_argument("--trial", help=argparse.SUPPRESS)  # what a worker process is to do


def read(words: Sequence[str]) -> tuple[Comparison, argparse.Namespace]:
    """The words after `shortcut compare` -> what they ask for."""
    name, recipe, args = parse_recipe(words, "compare", add_compare_options)
    every = [name for name, method in OBJECTIVES.items() if method.generative]
    given = every if args.objectives == ["all"] else list(dict.fromkeys(args.objectives))
    for method in given:
        choose("objective", method, OBJECTIVES)
    if args.compare_workers < 1:
        raise UserError(f"--workers must be a whole number >= 1, not {args.compare_workers}")
    if "diffusion" in given:
        OBJECTIVES["diffusion"]().scheduler()  # type: ignore[attr-defined]  # says so now, where diffusers is missing
    each = recipe.training.batch_size * recipe.objective.evaluations
    budget = args.compare_budget
    if budget is None:
        budget = round(DEFAULT_SHARE * recipe.training.steps * each)
    steps = list(dict.fromkeys(args.compare_steps))
    out = args.out or Path("comparisons") / name
    return Comparison(name, recipe, given, budget, args.compare_seeds, steps, args.compare_num, out), args


def compare_command(words: Sequence[str]) -> None:
    comparison, args = read(words)
    trials = {trial.name: trial for trial in comparison.trials()}
    if args.trial is not None:
        run_trial(comparison, trials[args.trial], quiet=True)
        return
    begin(comparison)
    print(f"{len(trials)} trainings of {comparison.budget:,} network evaluations at most", flush=True)
    waiting = [trial for trial in trials.values() if finished(comparison, trial) is None]
    with progress(len(trials), len(trials) - len(waiting)) as bar:
        if args.compare_workers == 1:
            for trial in waiting:
                bar.set_postfix_str(trial.name)
                run_trial(comparison, trial, quiet=True)
                bar.update()
        else:
            with Workers(args.compare_workers, words) as workers:
                workers.run_all(comparison, waiting, bar)
    from .compare_report import write_report

    for path in write_report(comparison):
        print(path)


def progress(total: int, done: int) -> tqdm[NoReturn]:
    """A bar over the trials: live in a terminal, a line now and then in a file."""
    interval = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, initial=done, unit="training", mininterval=interval, dynamic_ncols=True)


class Workers(contextlib.AbstractContextManager["Workers"]):
    """Processes that do a trial each; a signal to stop reaches all of them, and they save."""

    def __init__(self, count: int, words: Sequence[str]) -> None:
        self.count, self.words = count, list(words)
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._earlier: Any = None

    def __enter__(self) -> Workers:
        self._earlier = signal.signal(signal.SIGTERM, self._stop)
        return self

    def _stop(self, number: int, frame: Any) -> None:
        raise Stopped("stopped, and saved", number)

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._earlier)
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait()

    def start(self, trial: Trial) -> None:
        """A process for a trial, with its share of the cores."""
        threads = os.environ.get("OMP_NUM_THREADS") or str(max((os.cpu_count() or 1) // self.count, 1))
        command = [sys.executable, "-m", "shortcut_models.cli", "compare", *self.words, "--trial", trial.name]
        self.running[trial.name] = subprocess.Popen(
            command,
            text=True,
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": threads},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then tells the others once
        )

    def run_all(self, comparison: Comparison, waiting: list[Trial], bar: tqdm[NoReturn]) -> None:
        """All trials, each after the one it learns from. Raises UserError with the words of one that fails."""
        while waiting or self.running:
            ready = [trial for trial in waiting if trial.teacher is None or done(comparison, trial.teacher)]
            for trial in ready[: self.count - len(self.running)]:
                waiting.remove(trial)
                self.start(trial)
            bar.set_postfix_str(", ".join(self.running), refresh=False)
            time.sleep(0.2)
            for name in [name for name, process in self.running.items() if process.poll() is not None]:
                self._end(name)
                bar.update()

    def _end(self, name: str) -> None:
        process = self.running.pop(name)
        said = process.stderr.read().strip() if process.stderr else ""
        if process.returncode == 2:
            raise UserError(f"{name}: {said.splitlines()[-1].removeprefix('shortcut: error: ')}")
        if process.returncode > 128 or process.returncode < 0:
            number = process.returncode - 128 if process.returncode > 0 else -process.returncode
            raise Stopped(f"{name} stopped", number)
        if process.returncode:
            raise RuntimeError(f"{name} failed:\n{said}")


def done(comparison: Comparison, name: str) -> bool:
    """Whether a teacher has been trained."""
    (trial,) = (trial for trial in comparison.trials() if trial.name == name)
    return finished(comparison, trial) is not None
