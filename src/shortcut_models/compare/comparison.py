"""Methods side by side: each trained with the same number of network evaluations, and judged from the same noises.

One example through a forward pass counts 1, forward and backward 3. What comes before a method counts too: the teacher
that it learns from, and the pairs that the teacher makes for it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import Objective
from ..config import to_dict
from ..errors import UserError
from ..evaluation.evaluate import evaluate
from ..evaluation.results import read_result
from ..models.checkpoint import MODEL, STATE, newest
from ..models.loading import load
from ..models.model import Model
from ..models.parts import describe
from ..models.run import Run
from ..objectives import OBJECTIVES, with_shared_options
from ..recipes.library import Recipe
from ..recipes.train import teacher_of, train_recipe, with_steps
from ..system.files import write_json

TEACHER = "teacher"
"""name of the trials that train what other methods learn from"""
TEACHER_SHARE = 0.5
"""of the evaluations of a method in two phases"""
PAIR_SHARE = 1 / 3
"""of what is left after the teacher, for the methods that learn from its samples"""
PAIR_STEPS = 32
"""sampling steps of the teacher for each of these, so that a small budget buys enough of them"""


@dataclass(frozen=True)
class Trial:
    """One training of one method with one seed."""

    method: str
    recipe: Recipe
    cost: dict[str, int]
    """network evaluations of each phase"""
    teacher: str | None = None
    """name of the trial that is learned from"""

    @property
    def name(self) -> str:
        return f"{self.method}-seed{self.recipe.training.seed}"


@dataclass(frozen=True)
class Comparison:
    """What is compared, on what, and for how much."""

    name: str
    """of the recipe"""
    recipe: Recipe
    """its objective gives the options that methods share; its data, network and training are those of all"""
    methods: Sequence[str]
    budget: int
    """network evaluations of each training"""
    seeds: int
    steps: Sequence[int]
    """sampling steps to judge at"""
    num: int
    """samples for each"""
    out: Path

    def __post_init__(self) -> None:
        for what, value in (("nfe-budget", self.budget), ("seeds", self.seeds), ("num", self.num)):
            if value < 1:
                raise UserError(f"--{what} must be a whole number >= 1, not {value}")
        most = self.recipe.objective.max_steps
        for steps in self.steps:
            if not 1 <= steps <= most:
                raise UserError(f"--steps must be whole numbers from 1 to {most}, not {steps}")
        list(self.trials())  # says so now, where the budget is too small for one

    def objective(self, method: str) -> Objective:
        """A method with the options that it shares with the recipe's own, which keeps the rest of its.

        In all, noise is paired independently and nothing is guided, as the evaluation guides nothing.
        """
        given, cls = self.recipe.objective, OBJECTIVES[method]
        if type(given) is not cls:
            return with_shared_options(given, cls)
        return given.with_options(pairing="independent", guidance=1.0, pair_guidance=1.0)

    def trials(self) -> Iterator[Trial]:
        """All trainings, those that others learn from first. Raises UserError where the budget is too small."""
        for seed in range(self.seeds):
            if any(OBJECTIVES[method].requires != "data" for method in self.methods):
                yield self._teacher(seed)
        for method in self.methods:
            for seed in range(self.seeds):
                yield self._trial(method, seed)

    def _seeded(self, seed: int, steps: int) -> Recipe:
        if steps < 1:
            raise UserError(f"--nfe-budget {self.budget} is not enough for one step of each method: choose more")
        training = dataclasses.replace(with_steps(self.recipe, steps), seed=self.recipe.training.seed + seed)
        # A picture and a held-out loss at the end are enough; a training that is stopped goes on from a quarter of it.
        quarter = max(steps // 4, 1)
        training = dataclasses.replace(
            training, checkpoint_every=quarter, keep=1, sample_every=steps, heldout_every=steps, snapshots=0
        )
        return dataclasses.replace(self.recipe, training=training)

    def _teacher(self, seed: int) -> Trial:
        each = 3 * self.recipe.training.batch_size
        steps = int(TEACHER_SHARE * self.budget / each)
        recipe = self._seeded(seed, steps)
        recipe = dataclasses.replace(recipe, objective=teacher_of(recipe, steps).objective)
        return Trial(TEACHER, recipe, {"training": steps * each})

    def _trial(self, method: str, seed: int) -> Trial:
        objective, left, cost = self.objective(method), self.budget, {}
        teacher = self._teacher(seed) if objective.requires != "data" else None
        if teacher is not None:
            cost["teacher"] = teacher.cost["training"]
            left -= cost["teacher"]
        if objective.requires == "pairs":
            pair_steps = min(PAIR_STEPS, objective.max_steps)
            pairs = max(int(PAIR_SHARE * left / pair_steps), 1)
            objective = objective.with_options(pairs=pairs, pair_steps=pair_steps)
            cost["pairs"] = objective.pairs * objective.pair_steps
            left -= cost["pairs"]
        each = objective.nfe_per_example * self.recipe.training.batch_size
        steps = int(left / each)
        if steps < objective.stages:
            what = f"each of {method}'s stages" if objective.stages > 1 else f"one step of {method}"
            raise UserError(f"--nfe-budget {self.budget} is not enough for {what}: choose more")
        cost["training"] = round(steps * each)
        recipe = dataclasses.replace(self._seeded(seed, steps), objective=objective)
        return Trial(method, recipe, cost, None if teacher is None else teacher.name)

    def path(self, trial: str) -> Path:
        """The run directory of a trial."""
        return self.out / "runs" / trial

    def settings(self) -> dict[str, Any]:
        """What must not change when a comparison goes on; methods, seeds and steps may be added."""
        return {
            "recipe": self.name,
            "budget": self.budget,
            "task": describe(self.recipe.task),
            "network": describe(self.recipe.network),
            "objective": describe(self.recipe.objective),
            "training": {k: v for k, v in to_dict(self.recipe.training).items() if k != "steps"},  # the budget decides
        }


def begin(comparison: Comparison) -> None:
    """Make the directory, or check that it holds this very comparison.

    Raises UserError where it does not, or where the data or the network cannot be had; then nothing is written.
    """
    note, settings = comparison.out / "compare.json", json.loads(json.dumps(comparison.settings()))
    if note.exists():
        earlier = _read_object(note)
        if earlier is None:
            raise UserError(f"{note} is damaged: give another --out")
        for name in settings:
            if earlier.get(name) != settings[name]:
                raise UserError(f"{comparison.out} holds a comparison with another {name}: give another --out")
    elif comparison.out.exists() and (not comparison.out.is_dir() or any(comparison.out.iterdir())):
        raise UserError(f"{comparison.out} is not empty and holds no comparison: give another --out")
    else:
        task = comparison.recipe.task.resolve()
        comparison.recipe.network.build(task.shape, task.conditions)
        write_json(note, settings)


def run_trial(comparison: Comparison, trial: Trial, *, quiet: bool) -> dict[str, Any]:
    """Train and judge one method, or go on with it, or read what was found. Returns its evaluation."""
    path = comparison.path(trial.name)
    found = finished(comparison, trial)
    if found is not None:
        return found
    teacher = None if trial.teacher is None else comparison.path(trial.teacher)
    try:
        model = train_recipe(comparison.name, trial.recipe, path, teacher, quiet=quiet)
    except UserError:
        for run in (path, teacher):
            if run is not None:
                _refuse_damaged(Run(run))
        raise
    if trial.method == TEACHER:
        return {}
    result = evaluate(model, comparison.steps, comparison.num, quiet=quiet)
    logged = Run(path).read_metrics() or [{}]
    result |= {"cost": trial.cost, "training_seconds": logged[-1].get("seconds")}
    write_json(Run(path).evaluation, result)
    return result


def _refuse_damaged(run: Run) -> None:
    """Raise UserError, in a comparison's words, where a run's configuration or all of its checkpoints are damaged."""
    try:
        if run.config.exists():
            run.read_config()
        newest(run.checkpoints, (MODEL, STATE))
    except UserError:
        raise UserError(
            f"{run.path} is damaged: remove it, and run the same command again, which trains it anew"
        ) from None


def _read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where it holds something else."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def finished(comparison: Comparison, trial: Trial) -> dict[str, Any] | None:
    """The evaluation of a trial, where it is done and holds all that is asked for.

    One that is damaged, or that `shortcut evaluate` has put another in place of, is made again.
    """
    run = Run(comparison.path(trial.name))
    if trial.method == TEACHER:
        done = run.checkpoints / f"{trial.recipe.training.train_steps:08d}"
        return {} if done.is_dir() else None
    try:
        found = read_result(run.evaluation, run.path)
    except UserError:
        return None
    if found is None or not {"cost", "training_seconds"} <= set(found) or found["num"] != comparison.num:
        return None
    return found if {str(n) for n in comparison.steps} <= set(found["steps"]) else None


def results(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The evaluations of all methods, by the trials' names; those that are not done are left out."""
    trials = (trial for trial in comparison.trials() if trial.method != TEACHER)
    found = {trial.name: finished(comparison, trial) for trial in trials}
    return {name: evaluation for name, evaluation in found.items() if evaluation is not None}


def models(comparison: Comparison) -> dict[str, Model]:
    """The models of the first seed, by method."""
    seed = comparison.recipe.training.seed
    return {method: load(comparison.path(f"{method}-seed{seed}")) for method in comparison.methods}
