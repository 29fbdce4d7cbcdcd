"""Methods side by side: each trained with the same number of network evaluations, and judged from the same noises.

One example through a forward pass counts 1, forward and backward 3. What comes before a method counts too: the teacher
that it learns from, and the pairs that the teacher makes for it.
"""

import dataclasses
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import Objective, Task
from ..config import to_dict
from ..errors import UserError
from ..evaluation.evaluate import evaluate
from ..evaluation.results import read_result
from ..models.checkpoint import MODEL, STATE, newest
from ..models.legacy import upgrade_config
from ..models.loading import load
from ..models.model import Model
from ..models.parts import describe
from ..models.run import Run, same_place
from ..objectives import OBJECTIVES, with_shared_options
from ..recipes.library import Recipe
from ..recipes.train import teacher_of, train_recipe, training_for
from ..system.files import write_json

TEACHER = "teacher"  # name of the trials that train what other methods learn from
TEACHER_SHARE = 0.5  # of the evaluations of a method in two phases
PAIR_SHARE = 1 / 3  # of what is left after the teacher, for the methods that learn from its samples
PAIR_STEPS = 32  # sampling steps of the teacher for each of these, so that few network evaluations buy enough of them


@dataclass(frozen=True)
class Trial:
    """One training of one method with one seed."""

    method: str
    recipe: Recipe
    cost: dict[str, int]  # network evaluations of each phase
    teacher: str | None = None  # name of the trial that is learned from

    @property
    def name(self) -> str:
        return f"{self.method}-seed{self.recipe.training.seed}"


@dataclass(frozen=True)
class Comparison:
    """What is compared, on what, and for how much."""

    name: str  # of the recipe
    recipe: Recipe
    """its objective gives the options that methods share; its data, network and training are those of all"""
    methods: Sequence[str]
    nfe_budget: int  # network evaluations of each training
    seeds: int
    steps: Sequence[int]  # sampling steps to judge at
    num: int  # samples for each
    out: Path

    def __post_init__(self) -> None:
        for what, value in (("nfe-budget", self.nfe_budget), ("seeds", self.seeds), ("num", self.num)):
            if value < 1:
                raise UserError(f"--{what} must be a whole number >= 1, not {value}")
        most = self.recipe.objective.max_steps
        for steps in self.steps:
            if not 1 <= steps <= most:
                raise UserError(f"--steps must be whole numbers from 1 to {most}, not {steps}")
        _ = self.trials  # raises UserError where the budget is too small for one

    @functools.cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trainings, those that others learn from first."""
        seeds, first = range(self.seeds), any(OBJECTIVES[method].requires != "data" for method in self.methods)
        teachers = [self._teacher(seed) for seed in seeds if first]
        return (*teachers, *(self._trial(method, seed) for method in self.methods for seed in seeds))

    @functools.cached_property
    def task(self) -> Task:
        """The task of all trials; what it has read stays with it."""
        return self.recipe.task.resolve()

    def objective(self, method: str) -> Objective:
        """Return a method with the recipe's options; noise is paired independently, and nothing is guided."""
        given, cls = self.recipe.objective, OBJECTIVES[method]
        if type(given) is not cls:
            return with_shared_options(given, cls)
        return given.with_options(pairing="independent", guidance=1.0, pair_guidance=1.0)

    def path(self, trial: str) -> Path:
        """Return the run directory of a trial."""
        return self.out / "runs" / trial

    def settings(self) -> dict[str, Any]:
        """Return what must not change when a comparison is continued; methods, seeds and steps may be added."""
        # The budget decides the number of training steps.
        training = {name: value for name, value in to_dict(self.recipe.training).items() if name != "train_steps"}
        return {
            "recipe": self.name,
            "nfe_budget": self.nfe_budget,
            "task": describe(self.recipe.task),
            "network": describe(self.recipe.network),
            "objective": describe(self.recipe.objective),
            "training": training,
        }

    def begin(self) -> None:
        """Make the directory, or check that it holds this very comparison; after an error, nothing is written."""
        note, settings = self.out / "compare.json", json.loads(json.dumps(self.settings()))
        if note.exists():
            try:
                earlier = _with_todays_names(dict(json.loads(note.read_bytes()).items()))
            except (ValueError, AttributeError, TypeError):
                raise UserError(f"{note} is damaged: choose another --out") from None
            task, now = (dict(each.get("task") or {}) for each in (earlier, settings))
            earlier["task"] = task | {name: now[name] for name in now if same_place(name, task, now)}
            for name in settings:
                if earlier.get(name) != settings[name]:
                    shown = name.replace("_", "-")
                    raise UserError(f"{self.out} holds a comparison with another {shown}: choose another --out")
        elif self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UserError(f"{self.out} is not empty and does not hold a comparison: choose another --out")
        else:
            self.recipe.network.build(self.task.shape, self.task.conditions)
            write_json(note, settings)

    def run(self, trial: Trial, *, quiet: bool) -> dict[str, Any]:
        """Train and judge one method, or continue, or read what was found. Return its evaluation."""
        found = self.result(trial)
        if found is not None:
            return found
        path, teacher = self.path(trial.name), None if trial.teacher is None else self.path(trial.teacher)
        recipe = dataclasses.replace(trial.recipe, task=self.task)
        try:
            model = train_recipe(self.name, recipe, path, teacher, quiet=quiet)
        except UserError:
            for run in (path, teacher):
                if run is not None:
                    _refuse_damaged(Run(run))
            raise
        if trial.method == TEACHER:
            return {}
        result = evaluate(model, self.steps, self.num, quiet=quiet)
        logged = Run(path).read_metrics() or [{}]
        result |= {"cost": trial.cost, "training_seconds": logged[-1].get("seconds")}
        write_json(Run(path).evaluation, result)
        return result

    def result(self, trial: Trial) -> dict[str, Any] | None:
        """Return a trial's evaluation, if it holds all that is asked for; a damaged or replaced one is made again."""
        run = Run(self.path(trial.name))
        if trial.method == TEACHER:
            done = run.checkpoints / f"{trial.recipe.training.train_steps:08d}"
            return {} if done.is_dir() else None
        try:
            found = read_result(run.evaluation, run.path)
        except UserError:
            return None
        if found is None or not {"cost", "training_seconds"} <= set(found) or found["num"] != self.num:
            return None
        return found if {str(n) for n in self.steps} <= set(found["steps"]) else None

    def is_ready(self, trial: Trial) -> bool:
        """Return whether the teacher of a trial has been trained, if it has one."""
        return all(self.result(other) is not None for other in self.trials if other.name == trial.teacher)

    def results(self) -> dict[str, dict[str, Any]]:
        """Return the evaluations of all methods that are done, by the trials' names."""
        found = {trial.name: self.result(trial) for trial in self.trials if trial.method != TEACHER}
        return {name: evaluation for name, evaluation in found.items() if evaluation is not None}

    def models(self) -> dict[str, Model]:
        """Return the models of the first seed, by method."""
        seed = self.recipe.training.seed
        return {method: load(self.path(f"{method}-seed{seed}")) for method in self.methods}

    def _seeded(self, seed: int, steps: int) -> Recipe:
        if steps < 1:
            raise UserError(
                f"--nfe-budget {self.nfe_budget} is not enough for one step of each method: choose a larger one"
            )
        # A picture and a held-out loss at the end are enough; a training that is stopped resumes from a quarter of it.
        training = dataclasses.replace(
            training_for(self.recipe.training, steps), seed=self.recipe.training.seed + seed,
            checkpoint_every=max(steps // 4, 1), keep=1, sample_every=steps, heldout_every=steps, snapshots=0,
        )  # fmt: skip
        return dataclasses.replace(self.recipe, training=training)

    def _teacher(self, seed: int) -> Trial:
        each = 3 * self.recipe.training.batch_size
        steps = int(TEACHER_SHARE * self.nfe_budget / each)
        recipe = self._seeded(seed, steps)
        recipe = dataclasses.replace(recipe, objective=teacher_of(recipe, steps).objective)
        return Trial(TEACHER, recipe, {"training": steps * each})

    def _trial(self, method: str, seed: int) -> Trial:
        objective, left, cost = self.objective(method), self.nfe_budget, {}
        teacher = self._teacher(seed) if objective.requires != "data" else None
        if teacher is not None:
            cost["teacher"] = teacher.cost["training"]
            left -= cost["teacher"]
        if objective.requires == "pairs":
            pair_steps = min(PAIR_STEPS, objective.max_steps)
            objective = objective.with_options(pairs=max(int(PAIR_SHARE * left / pair_steps), 1), pair_steps=pair_steps)
            cost["pairs"] = objective.pairs * objective.pair_steps
            left -= cost["pairs"]
        each = objective.nfe_per_example * self.recipe.training.batch_size
        steps = int(left / each)
        if steps < objective.stages:
            what = f"each of {method}'s stages" if objective.stages > 1 else f"one step of {method}"
            raise UserError(f"--nfe-budget {self.nfe_budget} is not enough for {what}: choose a larger one")
        cost["training"] = round(steps * each)
        recipe = dataclasses.replace(self._seeded(seed, steps), objective=objective)
        return Trial(method, recipe, cost, None if teacher is None else teacher.name)


def _with_todays_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a comparison with today's names; in version 0.1, the budget was just "budget"."""
    if "budget" not in settings:
        return settings
    training = {"name": "training", **settings.get("training", {})}
    found = upgrade_config({**settings, "training": training, "version": "0.1.0"})
    found["training"].pop("name")
    return {"nfe_budget": found.pop("budget"), **found}


def _refuse_damaged(run: Run) -> None:
    """Raise UserError, in a comparison's words, where a run's configuration or all of its checkpoints are damaged."""
    try:
        if run.config.exists():
            run.read_config()
        newest(run.checkpoints, (MODEL, STATE))
    except UserError:
        raise UserError(
            f"{run.path} is damaged: remove it, then run the same command again, which trains it from scratch"
        ) from None
