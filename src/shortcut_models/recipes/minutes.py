"""One dial, `--minutes`: a recipe fitted to a time on this machine.

The largest candidate is taken that this machine trains for the steps that it needs, in the time. They are measured from
the smallest up, for a few seconds each. What was chosen is an ordinary recipe: its numbers are in the run's
configuration, where the same command finds them again.
"""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..config import to_dict
from ..errors import UserError
from ..models.parts import describe, rebuild
from ..models.run import Run
from ..objectives import Shortcut
from ..system.machine import torch_device
from ..system.progress import say
from ..tasks import Images
from ..training.options import Training
from ..training.plan import format_minutes, measure
from ..training.previews import PREVIEW_SECONDS
from .candidates import CANDIDATES, Candidate
from .commands import changes
from .library import Recipe

SHARE = 0.9  # of the time that is planned with: previews, checkpoints and a machine that gets busier take the rest
CHOSEN = (
    "train_steps", "batch_size", "learning_rate", "warmup", "ema", "checkpoint_every", "heldout_every", "sample_every",
)  # fmt: skip
"""options of the training that are chosen, beside the network, the size of images and options of the objective"""


def fit_to_minutes(
    name: str, recipe: Recipe, run: Path, minutes: float, *, begin: float, keep: Collection[str] = (),
    world: int = 1, quiet: bool = False,
) -> Recipe:  # fmt: skip
    """Return the recipe with sizes and steps for a time on this machine, or with those that its run has already.

    Args:
        name: the recipe's.
        recipe: what is fitted.
        run: where it is to train.
        minutes: the time.
        begin: when it began, by `time.monotonic`.
        keep: what stays as it is: "network", "task.image_size", "training.NAME" of those in CHOSEN.
        world: processes that share each batch.
        quiet: say nothing.

    Raises:
        UserError: there is no time; the method learns from a model; the data, or what is kept, does not fit.
    """
    if not 0 < minutes < math.inf:
        raise UserError(f"minutes must be > 0, not {minutes}")
    if recipe.objective.requires != "data":
        raise UserError(
            "--minutes is for methods that learn from data alone: use --train-steps, or another --objective"
        )
    files = Run(run)
    if files.config.exists():
        return _as_started(name, recipe, files.read_config(), keep)
    files.check({})  # refuses a directory of other files, before any work
    found = _choose(recipe, begin + 60 * minutes, keep, world)
    if not quiet:
        parts = {part: describe(getattr(found, part)) for part in ("task", "network", "objective")}
        words = changes({**parts, "training": to_dict(found.training)}, recipe)
        say(f"for {format_minutes(minutes)}: {' '.join(words or ()) or 'the recipe as it is'}")
    return found


def _as_started(name: str, recipe: Recipe, config: dict[str, Any], keep: Collection[str]) -> Recipe:
    """Return the recipe with what was chosen when its run was started."""
    if config.get("recipe") != name:
        return recipe  # another run, which `fit` refuses
    if "network" not in keep and config["network"].get("name") is not None:
        recipe = replace(recipe, network=rebuild("network", config["network"], None))
    if _leaves_size_open(recipe, keep):
        recipe = _with_size(recipe, config["task"].get("image_size"))
    chosen = {each: config["training"][each] for each in CHOSEN if f"training.{each}" not in keep}
    of_method = {name for rows in CANDIDATES.values() for row in rows for name in row.objective}
    return _with_options(recipe, chosen, {name: config["objective"].get(name) for name in of_method}, keep)


def _with_options(
    recipe: Recipe, training: Mapping[str, Any], objective: Mapping[str, Any], keep: Collection[str]
) -> Recipe:
    """Return the recipe with options of the training, and of the shortcut objective, if it has that."""
    kept = lambda part, given: {name: value for name, value in given.items() if f"{part}.{name}" not in keep}
    if isinstance(recipe.objective, Shortcut):
        recipe = replace(recipe, objective=replace(recipe.objective, **kept("objective", objective)))
    return replace(recipe, training=replace(recipe.training, **kept("training", training)))


def _leaves_size_open(recipe: Recipe, keep: Collection[str]) -> bool:
    return isinstance(recipe.task, Images) and recipe.task.image_size is None and "task.image_size" not in keep


def _with_size(recipe: Recipe, size: int | None) -> Recipe:
    assert isinstance(recipe.task, Images)
    return replace(recipe, task=replace(recipe.task, image_size=size))


def _choose(recipe: Recipe, end: float, keep: Collection[str], world: int) -> Recipe:
    """Return the largest option that can be trained, until a moment, for the steps that it needs."""
    options = _options(recipe, keep)
    speed, best, failed = _Speed([option for _, option in options], world), None, UserError("no candidate fits")
    for least, option in options:
        try:
            seconds = speed.seconds_of(option)
        except UserError as error:  # its sizes do not fit the data
            failed = error
            continue
        if best is not None and _affordable(option, seconds, end) < least:
            break
        best = option, seconds
    if best is None:
        raise failed
    chosen, seconds = best
    steps = max(_affordable(chosen, seconds, end), recipe.objective.stages)
    if chosen.network == recipe.network and chosen == options[-1][1] and steps >= recipe.training.train_steps:
        return chosen  # the recipe as it is
    return replace(chosen, training=_with_steps(chosen.training, steps, keep))


def _affordable(option: Recipe, seconds: float, end: float) -> int:
    """Return how many steps of so many seconds are done until a moment, with the last preview, which is always made."""
    left, (pictures, _) = max(0.0, end - time.monotonic()), option.task.preview_grid
    passes = pictures * (1 + 4 + min(128, option.objective.max_steps))
    preview = min(PREVIEW_SECONDS, passes * seconds / option.training.batch_size / option.objective.nfe_per_example)
    return int(max(left / 2, left - preview) * SHARE / seconds)


def _options(recipe: Recipe, keep: Collection[str]) -> list[tuple[int, Recipe]]:
    """Return the recipe with the sizes of each candidate, and at last its own, after the fewest steps of each."""
    rows = next((rows for kind, rows in CANDIDATES.items() if isinstance(recipe.task, kind)), ())
    side = recipe.task.own_side() if _leaves_size_open(recipe, keep) else None  # type: ignore[attr-defined]
    found: list[tuple[int, Recipe]] = []
    for row in [*rows, Candidate(recipe.training.train_steps, recipe.network, recipe.training.batch_size)]:
        option = recipe if side is None else _with_size(recipe, min(row.image_size or side, side))
        option = _with_options(option, {"batch_size": row.batch_size}, row.objective, keep)
        if "network" not in keep:
            option = _with_options(replace(option, network=row.network), row.training, {}, keep)
        if option not in [other for _, other in found]:
            found.append((row.steps, option))
    return found


def _with_steps(training: Training, steps: int, keep: Collection[str]) -> Training:
    """Return the training with another number of steps, and what depends on it, but for what is kept."""
    aside = max(1, steps // 5)
    chosen: dict[str, Any] = {
        "train_steps": steps,
        "warmup": min(training.warmup, steps // 10),
        "ema": min(training.ema, round(max(0.0, 1 - 17 / steps), 4)),
        "checkpoint_every": min(training.checkpoint_every, aside),
        "heldout_every": min(training.heldout_every, aside),
        "sample_every": min(training.sample_every, aside),
    }
    return replace(training, **{name: value for name, value in chosen.items() if f"training.{name}" not in keep})


class _Speed:
    """How fast options of a recipe are on this machine; they differ in the network, the batch and the images' size."""

    def __init__(self, options: Sequence[Recipe], world: int) -> None:
        self.world, self.device = world, torch_device(options[0].training.device)
        self.task = options[0].task.resolve()
        data = self.task.dataset("train")
        if not len(data):
            raise UserError("there is no train data: add at least one example")
        most = max(option.training.batch_size for option in options)
        self.batch = data.__getitems__([row % len(data) for row in range(most)])

    def seconds_of(self, option: Recipe) -> float:
        """Return the seconds of a step; infinite where it takes too much memory."""
        task, batch = self.task, self.batch
        if isinstance(task, Images) and isinstance(option.task, Images) and option.task.image_size != task.image_size:
            size = option.task.image_size  # the pixels of another size decide nothing here: they are not read
            task = replace(task, image_size=size)
            batch = replace(batch, data=F.interpolate(batch.data, size=size))
        network = option.network.build(task.shape, task.conditions)
        try:
            read = lambda rows: batch[:rows]
            return measure(network, option.objective, task, option.training, read, self.device, world=self.world)
        except torch.OutOfMemoryError:
            return math.inf
