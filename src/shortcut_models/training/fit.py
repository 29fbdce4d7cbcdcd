"""The trainer: it knows batches, logging and saving, and nothing of what it trains."""

from __future__ import annotations

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.nn.utils import get_total_norm

from .._version import __version__
from ..base import Dataset, Network, NetworkConfig, Objective, Task
from ..config import to_dict
from ..data.arrays import resident
from ..errors import Stopped, UserError
from ..models.model import Model
from ..models.parts import describe
from ..models.run import Run
from ..system.distributed import Processes, process_group
from ..system.machine import keep_freed_memory
from ..system.signals import StopRequest
from ..system.torchrun import DAY
from .batches import batches
from .log import Log, require_tensorboard
from .options import Training
from .pairs import make_pairs
from .previews import picture, snapshot
from .saving import Saver, resume, whole_weights
from .sharding import whole
from .state import State
from .step import MAX_BAD_STEPS, heldout_loss, train_step
from .teacher import describe_teacher, init_from_teacher
from .warm_start import load_initial_weights


def fit(
    network: Network,
    objective: Objective,
    task: Task,
    training: Training,
    run: Path | str,
    *,
    recipe: str = "",
    teacher: Model | None = None,
    init: Model | None = None,
    quiet: bool = False,
) -> Model:
    """Train a network, or go on with a run that was stopped: to resume, call it again with the same arguments.

    Called in each of the processes that torchrun started, it trains one network with all of them.

    Args:
        network: a fresh network for `task.shape` and `task.conditions`; it is trained in place. Seed its first
            weights: where no checkpoint was reached, a run that goes on begins with those of this one. Sharded
            (`training.parallel`), its parameters stay so.
        objective, task, training: the method, the data (resolved) and the trainer's options.
        run: the run's directory; made where it does not exist.
        recipe: a name for the run's records.
        teacher: a trained model, for methods that learn from one; the network then starts from its weights, where
            it is of the same sizes.
        init: a trained model whose weights the network begins with: see `warm_start.load_initial_weights`.
        quiet: no progress bar.

    Returns:
        The model with the sampling EMA, as `load(run)` would give it.

    Raises:
        UserError: another run is in the directory; teacher or init is missing or does not fit; ten steps in a row
            were not finite; the disk refused; processes cannot share a batch evenly.
        Stopped: SIGTERM or Ctrl-C came, to any of the processes; the run has been saved.
        PeerLost: another process ended.
    """
    files, config = Run(run), run_config(network, objective, task, training, recipe, teacher=teacher, init=init)
    with (
        _disk(files),
        process_group(training.device) as processes,
        contextlib.ExitStack() as held,
        StopRequest() as stop,
    ):
        ready = lambda: prepare(network, objective, task, training, teacher, init, processes)
        data = processes.with_timeout(DAY).run_on_all(ready)  # machines that share no cache read the data anew
        processes.run_on_main(lambda: held.enter_context(files.hold(config)))
        if teacher is not None and objective.requires == "pairs":
            # Written before, or the directory, when stopped among the pairs, would be no run.
            processes.run_on_main(lambda: None if files.config.exists() else files.write_config(config))
            teacher.network.to(training.torch_device())
            train = data["train"]
            data = make_pairs(teacher, objective, train, files.pairs, training.seed, stop, processes, quiet=quiet)
        data = {split: resident(dataset, training.torch_device()) for split, dataset in data.items()}
        in_one_piece = copy.deepcopy(network) if processes.world > 1 and training.parallel == "fsdp" else None
        state = begin(network, objective, training, teacher, files, processes)
        processes.run_on_main(lambda: files.write_config(config))
        model = Model(state.ema, objective, task, state.step, recipe)
        log, saver = Log(files, training, state.step, processes, quiet=quiet), Saver(files, training.keep, state)
        with log, saver:
            loop(state, model, data, training, files, config, log, stop, saver)
        if in_one_piece is not None:
            in_one_piece.load_state_dict(whole_weights(state))
            model.network = in_one_piece.to(training.torch_device()).eval()
    return model


@contextlib.contextmanager
def _disk(run: Run) -> Iterator[None]:
    """Turns what a disk refuses into UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or run.path}: {error.strerror or error}: mend that, then run the same command again; it "
            f"goes on from the last checkpoint"
        ) from None


def prepare(
    network: Network,
    objective: Objective,
    task: Task,
    training: Training,
    teacher: Model | None,
    init: Model | None,
    processes: Processes,
) -> dict[str, Dataset]:
    """The data, once all parts fit each other, and the network has its first weights. Raises UserError."""
    if training.torch_device().type == "cpu":
        keep_freed_memory()
    if training.tensorboard:
        require_tensorboard()
    data = {split: task.dataset(split) for split in ("train", "test")}
    check_parts(objective, training, data, processes.world)
    init_from_teacher(network, objective, task, teacher)
    if init is not None:
        load_initial_weights(network, objective, init)
    return data


def check_parts(objective: Objective, training: Training, data: dict[str, Dataset], world: int) -> None:
    """Raise UserError where data, steps or batch are too few for the objective or for the processes."""
    for split, dataset in data.items():
        if not len(dataset):
            raise UserError(f"there is no {split} data: give at least one example")
    if training.train_steps < objective.stages:
        raise UserError(
            f"train-steps must be >= {objective.stages}, the stages of this objective, not {training.train_steps}"
        )
    training.part_size(world)
    if world > 1 and training.parallel == "fsdp" and training.snapshots:
        raise UserError("snapshots are of networks that are not sharded: give --snapshots 0, or --parallel ddp")


def begin(
    network: Network, objective: Objective, training: Training, teacher: Model | None, run: Run, processes: Processes
) -> State:
    """The state that training begins with, or goes on with."""
    device = training.torch_device()
    state = State.new(network, objective, training, device, None if teacher is None else teacher.network, processes)
    resume(state, run, training)
    if training.compile == "on" or (training.compile == "auto" and device.type == "cuda"):
        state.compile()
    return state


def run_config(
    network: Network, objective: Objective, task: Task, training: Training, recipe: str, **models: Model | None
) -> dict[str, Any]:
    """What a run's config.json and its checkpoints' headers say; models: those that it learns from, by their part."""
    config = getattr(network, "config", None)
    facts = {part: describe_teacher(model) for part, model in models.items() if model is not None}
    return {
        "version": __version__,
        "recipe": recipe,
        "task": describe(task),
        "network": describe(config if isinstance(config, NetworkConfig) else network),
        "objective": describe(objective),
        "training": {"name": "training", **to_dict(training)},
        "has_schedule": objective.has_schedule or objective.stages > 1,
        **facts,
    }


def loop(
    state: State,
    model: Model,
    data: dict[str, Dataset],
    training: Training,
    run: Run,
    config: dict[str, Any],
    log: Log,
    stop: StopRequest,
    saver: Saver,
) -> None:
    """Steps, and what is due after each."""
    snapshot_steps, earlier, start = training.snapshot_steps(), state.seconds, time.perf_counter()
    on_cpu, processes = state.skipped.device.type == "cpu", state.processes
    stream = batches(
        data["train"], training.batch_size, training.seed, state.step, training.train_steps, training.workers,
        processes.rank, processes.world,
    )  # fmt: skip
    for batch in stream:
        log.add(train_step(state, batch, model.task, training))
        state.seconds, model.step = earlier + time.perf_counter() - start, state.step
        step, end = state.step, state.step == training.train_steps
        # To ask for the bad_steps is to wait for the device, and to ask for signals is to wait for the other processes,
        # so on a GPU it is not done after every step.
        looking = end or on_cpu or step % MAX_BAD_STEPS == 0
        signal_number = processes.all_reduce_max(stop.signal_number or 0) if looking or processes.world == 1 else 0
        saving = bool(end or signal_number or step % training.checkpoint_every == 0)
        bad_steps = int(state.bad_steps_in_a_row) if saving or looking else 0
        figures: dict[str, float] = {}
        if end or step % training.heldout_every == 0:
            figures["heldout_loss"] = heldout_loss(state, data["test"], model.task, training)
        diverged = end and bad_steps and (int(state.skipped) == step or not math.isfinite(figures["heldout_loss"]))
        if bad_steps >= MAX_BAD_STEPS or diverged:
            raise UserError(
                f"loss or gradient was not finite in {bad_steps} steps in a row, up to step {step}: look for bad "
                f"values in the data, or start again with a lower --learning-rate; earlier checkpoints are as they were"
            )
        # Before the end, weights that are not known to give a finite loss replace no checkpoint.
        saving = saving and (end or not bad_steps)
        if saving or figures or step % training.log_every == 0:
            log.write(step, **measures(state, training), **stream.figures(), **figures)
        try:
            if end or step % training.sample_every == 0:
                picture(model, run.samples / f"step_{step:08d}.png", write=processes.main)
            if step in snapshot_steps and processes.main:
                snapshot(state.network, model, run.snapshots / f"step_{step:08d}.npz")
        except UserError as error:  # samples of a network that diverges are no reason to stop
            warnings.warn(f"no picture of step {step}: {error}", stacklevel=2)
        if saving:
            saver.save(config)
        if saving and signal_number and not end:
            saver.finish()
            raise Stopped(f"stopped at step {step} of {training.train_steps}, and saved", signal_number)
    saver.finish()


def measures(state: State, training: Training) -> dict[str, float]:
    """What is measured only when a line is logged."""
    return {
        "learning_rate": training.learning_rate_at(state.step - 1, state.stages),
        "parameter_norm": float(whole(get_total_norm([p.detach() for p in state.network.parameters()]))),
        "skipped": int(state.skipped),
        "seconds": state.seconds,
    }
