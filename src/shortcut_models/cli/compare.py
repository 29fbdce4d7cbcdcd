"""The command `shortcut compare`."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..compare.comparison import Comparison
from ..compare.report import write_report
from ..compare.workers import Workers
from ..config import DERIVED, PositiveInt, choose
from ..objectives import OBJECTIVES
from ..system.progress import progress
from .parser import Command
from .recipe import RecipeCommand

DEFAULT_SHARE = 0.4
"""default of --nfe-budget, as a share of what the recipe's own training takes"""


@dataclass(frozen=True, kw_only=True)
class Compare(RecipeCommand):
    WITHOUT: ClassVar[Mapping[str, str]] = {
        "--train-steps": "--nfe-budget decides the optimiser steps of each training",
        "--snapshots": "a comparison keeps no snapshots",
    } | dict.fromkeys(
        ("--checkpoint-every", "--keep", "--sample-every", "--heldout-every"),
        "a comparison saves at each quarter of a training and samples at the end",
    )

    objectives: Sequence[str] = ("all",)
    """names of methods, of those above; all stands for those that are generative"""
    nfe_budget: PositiveInt | None = None
    """network evaluations of each training, its teacher included; an example forward counts 1, forward and backward 3
    (default: 40% of what the recipe's own training takes)"""
    seeds: PositiveInt = 1
    """number of trainings of each method"""
    steps: Sequence[int] = (128, 4, 1)
    """numbers of sampling steps to evaluate at, 1 to the model's largest"""
    num: PositiveInt = 1000
    """number of samples for each number of steps"""
    jobs: PositiveInt = 1
    """number of trainings at a time, each with its share of the cores"""
    out: Path | None = None
    """folder of the comparison (default: comparisons/RECIPE)"""
    trial: str | None = field(default=None, metadata=DERIVED)
    """the only training that this process does: set by `Workers`"""

    @classmethod
    def read(cls, words: Sequence[str], prog: str, about: str) -> Command:
        """Return the command; see `Command.read`."""
        trial = None
        if list(words[-2:-1]) == ["--trial"]:  # of a process of --jobs: not an option for users, so not in the help
            *words, _, trial = words
        command: Any = super().read(words, prog, about)
        return dataclasses.replace(command, trial=trial)

    def comparison(self) -> Comparison:
        """Return what is compared. Raises UserError where it cannot be."""
        methods = methods_of(self.objectives)
        if "diffusion" in methods:
            OBJECTIVES["diffusion"]().scheduler()  # type: ignore[attr-defined]  # raises where diffusers is missing
        training, each = self.recipe.training, self.recipe.objective.nfe_per_example
        budget = self.nfe_budget or round(DEFAULT_SHARE * training.train_steps * training.batch_size * each)
        steps, out = list(dict.fromkeys(self.steps)), self.out or Path("comparisons") / self.name
        return Comparison(self.name, self.recipe, methods, budget, self.seeds, steps, self.num, out)

    def __call__(self) -> None:
        comparison = self.comparison()
        trials = {trial.name: trial for trial in comparison.trials}
        if self.trial is not None:
            comparison.run(choose("trial", self.trial, trials), quiet=True)
            return
        comparison.begin()
        print(f"{len(trials)} trainings of {comparison.nfe_budget:,} network evaluations at most", flush=True)
        waiting = [trial for trial in trials.values() if comparison.result(trial) is None]
        with progress(len(trials), "training", initial=len(trials) - len(waiting)) as bar:
            if self.jobs == 1:
                for trial in waiting:
                    bar.set_postfix_str(trial.name)
                    comparison.run(trial, quiet=True)
                    bar.update()
            else:
                with Workers(self.jobs, self.words) as workers:
                    workers.run_all(comparison, waiting, bar)
        for path in write_report(comparison):
            print(path)


def methods_of(names: Sequence[str]) -> list[str]:
    """Return the methods that names stand for, each once; `all` stands for the generative ones."""
    several = {"all": [name for name, method in OBJECTIVES.items() if method.is_generative]}
    found = dict.fromkeys(method for name in names for method in several.get(name, [name]))
    for method in found:
        choose("objective", method, OBJECTIVES)
    return list(found)
