"""The trainer: it knows batches, the optimiser, averages and precision, and nothing of what it trains."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoint
from ._version import __version__
from .base import Batch, Dataset, Network, NetworkConfig, Objective, Task
from .data import batches
from .distillation import facts_of, make_pairs, start_from
from .errors import Stopped, UserError
from .log import Log, need_tensorboard
from .memory import keep_freed_memory
from .model import Model, describe
from .networks import NETWORKS
from .objectives import OBJECTIVES
from .previews import picture, snapshot
from .randomness import seed_of
from .runs import Run
from .state import State, losses
from .stop import StopRequest
from .tasks import TASKS
from .tasks.arrays import resident
from .training import Training
from .warm_start import begin_as

PATIENCE = 10
"""steps in a row without a finite loss and gradient that end a run"""
HELD_OUT = 2048
"""examples at most in the held-out loss"""


def fit(
    network: Network,
    objective: Objective,
    task: Task,
    training: Training,
    run: Path | str,
    *,
    recipe: str = "",
    source: Model | None = None,
    init: Model | None = None,
    quiet: bool = False,
) -> Model:
    """Train a network, or go on with a run that was stopped: to resume, call it again with the same arguments.

    Args:
        network: a fresh network for `task.shape` and `task.conditions`; it is trained in place. Seed its first
            weights: where no checkpoint was reached, a run that goes on begins with those of this one.
        objective, task, training: the method, the data (resolved) and the trainer's options.
        run: the run's directory; made where it does not exist.
        recipe: a name for the run's records.
        source: a trained model, for methods that learn from one; the network then starts from its weights, where
            it is of the same sizes.
        init: a trained model whose weights the network begins with: see `warm_start.begin_as`.
        quiet: no progress bar.

    Returns:
        The model with the sampling EMA, as `load(run)` would give it.

    Raises:
        UserError: another run is in the directory; source or init is missing or does not fit; ten steps in a row were
            not finite; the disk refused.
        Stopped: SIGTERM or Ctrl-C came; the run has been saved.
    """
    device = training.torch_device()
    if device.type == "cpu":
        keep_freed_memory()
    if training.tensorboard:
        need_tensorboard()
    data = {split: task.dataset(split) for split in ("train", "test")}
    check_parts(objective, training, data)
    start_from(network, objective, task, source)
    if init is not None:
        begin_as(network, objective, init)
    files, config = Run(run), run_config(network, objective, task, training, recipe)
    if source is not None:
        config["source"] = facts_of(source)
    if init is not None:
        config["init"] = facts_of(init)
    try:
        with files.hold(config), StopRequest() as stop:
            if source is not None and objective.learns_from == "pairs":
                if not files.config.exists():
                    files.write_config(config)  # or the directory, when stopped among the pairs, would be no run
                source.network.to(device)
                data = make_pairs(source, objective, data["train"], files.pairs, training.seed, stop, quiet=quiet)
            data = {split: resident(dataset, device) for split, dataset in data.items()}
            state = State.new(network, objective, training, device, None if source is None else source.network)
            resume(state, files, training)
            files.write_config(config)
            model = Model(state.ema, objective, task, state.step, recipe)
            if training.compile == "on" or (training.compile == "auto" and device.type == "cuda"):
                state.compile()
            with Log(files, training.steps, state.step, tensorboard=training.tensorboard, quiet=quiet) as log:
                loop(state, model, data, training, files, config, log, stop)
    except OSError as error:
        raise UserError(
            f"{error.filename or run}: {error.strerror or error}: mend that, then run the same command again; it goes "
            f"on from the last checkpoint"
        ) from None
    return model


def check_parts(objective: Objective, training: Training, data: dict[str, Dataset]) -> None:
    """Raise UserError where there is no data, or where the steps are too few for the objective's stages."""
    for split, dataset in data.items():
        if not len(dataset):
            raise UserError(f"there is no {split} data: give at least one example")
    if training.steps < objective.stages:
        raise UserError(f"steps must be >= {objective.stages}, the stages of this objective, not {training.steps}")


def run_config(network: Network, objective: Objective, task: Task, training: Training, recipe: str) -> dict[str, Any]:
    """What a run's config.json and its checkpoints' headers say."""
    config = getattr(network, "config", None)
    return {
        "version": __version__,
        "recipe": recipe,
        "task": describe(task, TASKS),
        "network": describe(config if isinstance(config, NetworkConfig) else network, NETWORKS),
        "objective": describe(objective, OBJECTIVES),
        "training": describe(training, {"training": Training}),
    }


def resume(state: State, run: Run, training: Training) -> None:
    """Go back to the newest checkpoint that is whole, if there is one."""
    found = checkpoint.newest(run.checkpoints, (checkpoint.MODEL, checkpoint.STATE))
    if found is not None:
        path, ((ema, _), (tensors, _)) = found
        try:
            state.restore(tensors, ema)
        except (RuntimeError, KeyError, ValueError):
            raise UserError(f"{path} does not fit this network: give the one the run was started with") from None
    if state.step > training.steps:
        raise UserError(f"{run.path} has been trained for {state.step} steps already: ask for more --steps")
    run.forget_after(state.step)


def loop(
    state: State,
    model: Model,
    data: dict[str, Dataset],
    training: Training,
    run: Run,
    config: dict[str, Any],
    log: Log,
    stop: StopRequest,
) -> None:
    """Steps, and what is due after each."""
    snapshot_steps, earlier, begin = training.snapshot_steps(), state.seconds, time.perf_counter()
    on_cpu = state.skipped.device.type == "cpu"
    stream = batches(data["train"], training.batch_size, training.seed, state.step, training.steps, training.workers)
    for batch in stream:
        log.add(train_step(state, batch, model.task, training))
        state.seconds, model.step = earlier + time.perf_counter() - begin, state.step
        step, end = state.step, state.step == training.steps
        saving = end or stop.signal_number is not None or step % training.checkpoint_every == 0
        # To ask for the streak is to wait for the device, so on a GPU it is not done after every step.
        streak = int(state.streak) if saving or on_cpu or step % PATIENCE == 0 else 0
        figures: dict[str, float] = {}
        if end or step % training.heldout_every == 0:
            figures["heldout_loss"] = heldout_loss(state, data["test"], model.task, training)
        if streak >= PATIENCE or (end and streak and not math.isfinite(figures["heldout_loss"])):
            raise UserError(
                f"loss or gradient was not finite in {streak} steps in a row, up to step {step}: look for bad values "
                f"in the data, or start anew with a lower --learning-rate; earlier checkpoints are as they were"
            )
        # Before the end, weights that are not known to give a finite loss replace no checkpoint.
        saving = saving and (end or not streak)
        if saving or figures or step % training.log_every == 0:
            log.write(step, **measures(state, training), **stream.figures(), **figures)
        try:
            if end or step % training.sample_every == 0:
                picture(model, run.samples / f"step_{step:08d}.png")
            if step in snapshot_steps:
                snapshot(state.network, model, run.snapshots / f"step_{step:08d}.npz")
        except UserError as error:  # samples of a network that diverges are no reason to stop
            warnings.warn(f"no picture of step {step}: {error}", stacklevel=2)
        if saving:
            weights = state.ema.state_dict()
            checkpoint.save(run.checkpoints, step, weights, state.tensors(), config | {"step": step}, training.keep)
        if saving and stop.signal_number is not None and not end:
            raise Stopped(f"stopped at step {step} of {training.steps}, and saved", stop.signal_number)


def measures(state: State, training: Training) -> dict[str, float]:
    """What is measured only when a line is logged."""
    return {
        "learning_rate": training.learning_rate_at(state.step - 1, state.stages),
        "parameter_norm": float(torch.cat([p.detach().flatten() for p in state.network.parameters()]).norm()),
        "skipped": int(state.skipped),
        "seconds": state.seconds,
    }


def train_step(state: State, batch: Batch, task: Task, training: Training) -> dict[str, Tensor]:
    """One optimiser step on one batch, which is a function of the state, the batch and the seed alone.

    Returns figures for the log, still on the device. A loss or gradient that is not finite leaves the weights as
    they were.
    """
    device = state.skipped.device
    bfloat16 = training.bfloat16(device)
    state.enter_stage(training)
    batch.progress = state.step / training.steps
    rows, part_rows = len(batch), -(-len(batch) // training.accumulate)
    total, logs = torch.zeros((), device=device), []
    for part, begin in enumerate(range(0, rows, part_rows)):
        torch.manual_seed(seed_of(training.seed, 0, state.step, part))
        raw = batch[begin : begin + part_rows].to(device)
        if raw.noise is None:
            raw.data = task.augment(task.encode(raw.data))
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            found = state.loss(state.teacher, raw, state.source)
        share = found.per_example.sum() / rows
        share.backward()
        total += share.detach()
        logs.append(found.logs)

    parameters = [p for p in state.network.parameters() if p.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(parameters, training.clip)
    bad = ~(torch.isfinite(total) & torch.isfinite(norm))
    for group in state.optimizer.param_groups:
        group["lr"] = training.learning_rate_at(state.step, state.stages)
    # The fused optimiser skips the step by itself where this says so: no wait for the device.
    state.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    # A streak that is long enough to end the run stays, until somebody looks.
    state.streak = torch.where(state.streak >= PATIENCE, state.streak, (state.streak + 1) * bad)
    state.skipped = state.skipped + bad
    state.average(training)
    state.step += 1

    nan = torch.full_like(total, torch.nan)
    figures = {"loss": torch.where(bad, nan, total), "gradient_norm": torch.where(bad, nan, norm)}
    return figures | {name: torch.cat([log[name].flatten() for log in logs]) for name in logs[0]}


@torch.no_grad()
def heldout_loss(state: State, dataset: Dataset, task: Task, training: Training) -> float:
    """The sampling EMA's loss on held-out examples, with the same draws every time."""
    device, total = state.skipped.device, 0.0
    rows = range(min(len(dataset), HELD_OUT))
    for begin in rows[:: training.batch_size]:
        torch.manual_seed(seed_of(training.seed, 1, begin))
        raw = dataset.__getitems__(list(rows[begin : begin + training.batch_size])).to(device)
        raw.progress = max(state.step - 1, 0) / training.steps  # as in the step just made: its stage, its source
        if raw.noise is None:
            raw.data = task.encode(raw.data)
        with torch.autocast(device.type, torch.bfloat16, enabled=training.bfloat16(device)):
            found = losses(state.loss.objective, state.ema, state.ema, raw, state.source)
        total += float(found.per_example.sum())
    return total / len(rows)
