"""Train a recipe into a run directory, after a teacher where the method learns from one."""

import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..base import NetworkConfig, Objective, Task
from ..config import choose
from ..errors import UserError
from ..models.loading import load
from ..models.model import Model
from ..models.run import Run
from ..objectives import FlowMatching, with_shared_options
from ..system.defaults import torch_defaults
from ..system.distributed import process_group
from ..system.torchrun import DAY
from ..training.callbacks import Callback
from ..training.fit import fit, run_config
from ..training.options import Training
from ..training.plan import TimeLimit
from ..training.trainer import Trainer
from ..training.warm_start import check_objective
from .library import RECIPES, Recipe
from .minutes import fit_to_minutes
from .options import check_guidance, with_options, with_parts, with_places


def train(
    recipe: str | Recipe, *, run: Path | str | None = None, steps: int | None = None,
    data: Path | str | None = None, vae: Path | str | None = None,
    network: str | NetworkConfig | Mapping[str, Any] | None = None,
    objective: str | Objective | Mapping[str, Any] | None = None,
    task: Task | Mapping[str, Any] | None = None, training: Training | Mapping[str, Any] | None = None,
    teacher: Path | str | None = None, init_from: Path | str | None = None, minutes: float | None = None,
    overwrite: bool = False, callbacks: Sequence[Any] = (), loggers: Sequence[Any] = (), quiet: bool = False,
) -> Model:  # fmt: skip
    """Train a recipe, or resume a run of it: what `shortcut train` does, with the same result.

    A part of the recipe can be another one, or have other options: `network=MLP(width=256)` is another network,
    `network="dit"` the default one of a name, and `network={"width": 256}` the recipe's with another width.

    Args:
        recipe: its name, one of `RECIPES`, or a recipe of your own.
        run: the run's directory; made where it does not exist. None: `runs/NAME`, as on the command line.
        steps: optimiser steps, in place of the recipe's.
        data: your own data, for recipes that take it: a path, or hf:NAME.
        vae: folder or Hub name of the VAE, for recipes on latents.
        network, objective: another part, its name, or options of the recipe's own.
        task, training: another part, or options of the recipe's own.
        teacher: trained run or model file, for methods that learn from one; without it, half of the steps train one.
        init_from: trained run or model file whose weights the network starts with.
        minutes: time to fit the training to: it chooses the sizes and numbers of steps that are not given here.
        overwrite: start from scratch where the directory holds a run, which is removed.
        callbacks, loggers: as for `fit`.
        quiet: no progress bar, and no plan of what it will do and how long that takes.

    Raises:
        UserError: a recipe, part or option of a name does not exist; and as `fit`.
        Stopped, PeerLost: as `fit`.
    """
    name, found = (recipe, choose("recipe", recipe, RECIPES)) if isinstance(recipe, str) else (_name_of(recipe), recipe)
    found, keep = with_parts(found, network=network, objective=objective, task=task, training=training)
    if steps is not None:
        found, keep = with_options(found, "training", {"train_steps": steps}), {*keep, "training.train_steps"}
    if minutes is not None and "training.train_steps" in keep:
        raise UserError("minutes chooses the number of steps: leave steps, and train_steps of training, out")
    if found.objective.requires == "data" or teacher is None:  # which is trained here, and guides
        check_guidance(found.objective)
    places = {each: None if place is None else str(place) for each, place in (("data", data), ("vae", vae))}
    found = dataclasses.replace(found, task=with_places(found.task, **places, recipe=name or "of your own"))
    if run is None and not name:
        raise UserError("a recipe of your own has no name for a directory: pass run")
    path = lambda place: None if place is None else Path(place)
    return train_recipe(
        name, found, Path("runs", name) if run is None else Path(run), path(teacher), init_from=path(init_from),
        overwrite=overwrite, minutes=minutes, keep=keep, callbacks=callbacks, loggers=loggers, quiet=quiet,
    )  # fmt: skip


def _name_of(recipe: Recipe) -> str:
    """Return the name of a recipe; "" where it is not one of RECIPES."""
    return next((name for name, each in RECIPES.items() if each is recipe), "")


@torch_defaults(gradients=True)
def train_recipe(
    name: str,
    recipe: Recipe,
    run: Path,
    teacher: Path | None = None,
    *,
    init_from: Path | None = None,
    overwrite: bool = False,
    minutes: float | None = None,
    keep: Collection[str] = (),
    callbacks: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
    quiet: bool = False,
) -> Model:
    """Train a recipe, or resume a run of it that was stopped; raises as `fit`.

    teacher, init_from: trained runs or model files, for objectives that learn from a model, or start with its weights.
    overwrite: start from scratch where the directory holds a run, which is removed. callbacks, loggers: as those of
    `fit`; a teacher that is trained first has loggers by name alone.
    Without a teacher that is needed, half of the steps first train one by flow matching, in `RUN-teacher`.
    minutes: fit the recipe, but for what `keep` names, to this time, and stop when it is over: see `fit_to_minutes`.
    """
    for option, path in (("--teacher", teacher), ("--init-from", init_from)):
        if overwrite and path is not None and run.resolve() in (path.resolve(), *path.resolve().parents):
            raise UserError(
                f"{option} {path} is in the run that --overwrite removes: choose another directory with --run"
            )
    begin, limits = time.monotonic(), []
    if init_from is not None:
        check_objective(recipe.objective)  # before a teacher is trained
    with process_group(recipe.training.device) as processes:
        patient = processes.with_timeout(DAY)
        if minutes is not None:
            keep = {*keep, *(["network"] if init_from is not None else [])}
            fitted = partial(fit_to_minutes, begin=begin, keep=keep, world=processes.world, quiet=quiet)
            recipe = patient.run_on_main(partial(fitted, name, recipe, run, minutes))
            limits = [TimeLimit(minutes, begin, quiet=quiet)]
        task = patient.run_on_main(recipe.task.resolve)
        trained = None
        init = None if init_from is None else processes.run_on_all(lambda: load(init_from))
        if teacher is not None:
            trained = processes.run_on_all(lambda: load(teacher))
        elif recipe.objective.requires != "data":
            of_teacher, recipe = two_phases(recipe)
            beside = run.with_name(f"{run.name}-teacher")
            check = lambda: _check_runs(name, of_teacher, recipe, task, Run(beside), Run(run), overwrite=overwrite)
            processes.run_on_main(check)
            names = [each for each in loggers if isinstance(each, str)]
            clear = (_Clear(Run(run)),) if overwrite else ()
            trained = train_recipe(
                name, of_teacher, beside, overwrite=overwrite, callbacks=clear, loggers=names, quiet=quiet
            )
        return fit(
            recipe.network, recipe.objective, task, run=run, training=recipe.training, recipe=name, teacher=trained,
            init=init, callbacks=[*limits, *callbacks], loggers=loggers, overwrite=overwrite, quiet=quiet,
        )  # fmt: skip


def two_phases(recipe: Recipe) -> tuple[Recipe, Recipe]:
    """Return the recipe of a teacher, trained by flow matching with half of the steps, and that of the student.

    Pairs are made in at most the number of sampling steps that the teacher has.
    """
    steps, objective = recipe.training.train_steps, recipe.objective
    least = max(2 * objective.stages - 1, 2)
    if steps < least:
        stages = f", and the others the {objective.stages} stages of a student" if objective.stages > 1 else ""
        raise UserError(
            f"train-steps must be >= {least}, as half of them train a teacher{stages}, not {steps}: "
            f"choose more, or pass --teacher"
        )
    objective = objective.with_options(pair_steps=min(objective.pair_steps, objective.max_steps))
    rest = dataclasses.replace(recipe, objective=objective, training=training_for(recipe.training, steps - steps // 2))
    return teacher_of(recipe, steps // 2), rest


class _Clear(Callback):
    """Removes the old run of a student when its new teacher has taken a step: then nothing can be wrong any more."""

    def __init__(self, student: Run) -> None:
        self.student = student

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == 1 and trainer.state.processes.main:
            with self.student.hold({}, overwrite=True):
                self.student.clear()


def _check_runs(
    name: str, of_teacher: Recipe, of_student: Recipe, task: Task, teacher: Run, student: Run, *, overwrite: bool
) -> None:
    """Raise UserError, before a teacher is trained, where a directory holds another run than that of its phase."""
    if overwrite:
        with teacher.hold({}, overwrite=True), student.hold({}, overwrite=True):
            return
    if student.config.exists() and not teacher.config.exists() and "teacher" in student.read_config():
        raise UserError(f"{student.path} learned from a model that is not in {teacher.path}: pass it with --teacher")
    if teacher.config.exists():
        steps = teacher.read_config()["training"].get("train_steps")
        if steps != of_teacher.training.train_steps:
            raise UserError(
                f"{teacher.path} was trained for {steps} steps, half of --train-steps, not "
                f"{of_teacher.training.train_steps}: use the same --train-steps to resume, or pass --teacher "
                f"{teacher.path} and the steps of the student alone"
            )
    for recipe, run in ((of_teacher, teacher), (of_student, student)):
        network = recipe.network.build(task.shape, task.conditions)
        config = run_config(network, recipe.objective, task, recipe.training, name)
        if run.config.exists() and "teacher" in (earlier := run.read_config()):
            config["teacher"] = earlier["teacher"]  # which is known once the teacher is trained
        run.check(config)


def teacher_of(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe of a flow-matching teacher with a number of optimiser steps."""
    objective = with_shared_options(recipe.objective, FlowMatching)
    training = dataclasses.replace(training_for(recipe.training, steps), snapshots=0)  # the student is animated
    return dataclasses.replace(recipe, objective=objective, training=training)


def training_for(training: Training, steps: int) -> Training:
    """Return the options for another number of optimiser steps, with a warm-up of at most an eighth of them."""
    return dataclasses.replace(training, train_steps=steps, warmup=min(training.warmup, steps // 8))
