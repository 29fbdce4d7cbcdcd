"""Training a recipe into a run directory, with the teacher's phase before it where the method has one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from .distributed import joined
from .errors import UserError
from .model import Model, load
from .objectives import FlowMatching
from .randomness import seed_of
from .recipes import Recipe
from .train import fit
from .training import Training
from .warm_start import check_objective


def train_recipe(
    name: str,
    recipe: Recipe,
    run: Path,
    teacher: Path | None = None,
    *,
    init_from: Path | None = None,
    quiet: bool = False,
) -> Model:
    """Train a recipe, or go on with a run of it that was stopped.

    Args:
        name: the recipe's name.
        recipe: what to train.
        run: the run's directory.
        teacher: a trained run or model file, for objectives that learn from one. Where they have none, half of the
            steps train one with flow matching first, in `RUN-teacher` beside it.
        init_from: a trained run or model file whose weights the network begins with, for objectives that learn from
            data.
        quiet: no progress bar.

    Raises:
        UserError, Stopped: as `fit`.
    """
    if init_from is not None:
        check_objective(recipe.objective)  # before a teacher is trained
    with joined(recipe.training.device) as processes:
        task = processes.on_main(recipe.task.resolve)
        source = None
        init = None if init_from is None else processes.together(lambda: load(init_from))
        if teacher is not None:
            source = processes.together(lambda: load(teacher))
        elif recipe.objective.learns_from != "data":
            of_teacher, recipe = two_phases(recipe)
            source = train_recipe(name, of_teacher, run.with_name(f"{run.name}-teacher"), quiet=quiet)
        torch.manual_seed(seed_of(recipe.training.seed))  # of the first weights; `fit` takes care of everything else
        network = recipe.network.build(task.shape, task.conditions)
        return fit(
            network, recipe.objective, task, recipe.training, run, recipe=name, source=source, init=init, quiet=quiet
        )


def two_phases(recipe: Recipe) -> tuple[Recipe, Recipe]:
    """The recipe of a teacher, trained by flow matching with half of the steps, and that of the rest."""
    steps = recipe.training.steps
    if steps < 2:
        raise UserError("steps must be >= 2, as half of them train a teacher: give more, or a --teacher")
    return teacher_of(recipe, steps // 2), dataclasses.replace(recipe, training=with_steps(recipe, steps - steps // 2))


def teacher_of(recipe: Recipe, steps: int) -> Recipe:
    """The recipe of a flow matching teacher with so many steps."""
    shared = {name: getattr(recipe.objective, name) for name in ("label_dropout", "told", "sigma_min")
              if hasattr(recipe.objective, name)}  # fmt: skip
    objective = FlowMatching(max_steps=recipe.objective.max_steps, **shared)
    return dataclasses.replace(recipe, objective=objective, training=with_steps(recipe, steps))


def with_steps(recipe: Recipe, steps: int) -> Training:
    """The recipe's training with another number of steps; a warm-up that is too long for them is cut to an eighth."""
    return dataclasses.replace(
        recipe.training, steps=steps, warmup=min(recipe.training.warmup, steps // 8), snapshots=0
    )
