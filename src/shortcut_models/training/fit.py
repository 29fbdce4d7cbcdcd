"""Training a network in a run directory: what comes before the steps, and what comes after them."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from .._version import __version__
from ..base import Dataset, Network, NetworkConfig, Objective, Task
from ..config import to_dict
from ..errors import UserError
from ..models.checkpoint import newest_step
from ..models.model import Model
from ..models.parts import describe
from ..models.run import Run
from ..system.defaults import torch_defaults
from ..system.distributed import Processes, process_group
from ..system.machine import keep_freed_memory, torch_device
from ..system.signals import StopRequest
from ..system.torchrun import DAY
from .callbacks import Callback, Checkpoints, Logging, Previews, Stopping
from .log import Log, require_tensorboard
from .options import Training
from .pairs import make_pairs
from .plan import Plan, TimeLimit
from .saving import Saver, resume, whole_weights
from .side_work import SideWork
from .state import State
from .teacher import describe_teacher, init_from_teacher
from .trainer import Trainer
from .warm_start import load_initial_weights


@torch_defaults(gradients=True)
def fit(
    network: Network, objective: Objective, task: Task, training: Training, run: Path | str, *,
    recipe: str = "", teacher: Model | None = None, init: Model | None = None,
    callbacks: Sequence[Callback] = (), overwrite: bool = False, quiet: bool = False,
) -> Model:  # fmt: skip
    """Train a network, or continue a run that was stopped: to resume, call it again with the same arguments.

    All processes that torchrun started call it, and train one network together.

    Args:
        network: a fresh network for `task.shape` and `task.conditions`, trained in place. Seed its first weights.
        objective, training: the method, and the trainer's options.
        task: the data, resolved.
        run: the run's directory; made where it does not exist.
        recipe: a name for the run's records.
        teacher: a trained model, for methods that learn from one; a network of the same sizes begins with its weights.
        init: a trained model whose weights the network begins with: see `warm_start.load_initial_weights`.
        callbacks: what else is done while the network trains.
        overwrite: start from scratch where the directory holds a run, which is removed.
        quiet: no progress bar, and no plan of what it will do and how long that takes.

    Returns:
        The model with the sampling EMA, as `load(run)` returns it.

    Raises:
        UserError: the directory holds another run; a part is missing or does not fit; ten steps in a row were not
            finite; the disk refused; processes cannot share a batch evenly.
        Stopped: SIGTERM or Ctrl-C came, to any of the processes; the run has been saved.
        PeerLost: another process ended.
    """
    files, config = Run(run), run_config(network, objective, task, training, recipe, teacher=teacher, init=init)
    with _disk(files), process_group(training.device) as processes, ExitStack() as held, StopRequest() as stop:
        device = processes.run_on_all(lambda: torch_device(training.device))
        data = prepare(network, objective, task, training, teacher, init, device, processes)
        config["data"] = task.describe_data()
        processes.run_on_main(lambda: held.enter_context(files.hold(config, overwrite=overwrite)))
        teacher_network = None if teacher is None else teacher.network
        plan = Plan(config, training, device, processes, quiet=quiet)
        begin = 0 if overwrite else newest_step(files.checkpoints)
        plan.measure(network, objective, task, data["train"], teacher_network, begin)  # before the state takes memory
        in_one_piece = copy.deepcopy(network) if processes.world > 1 and training.parallel == "fsdp" else None
        state = State.new(network, objective, training, device, teacher_network, processes)
        if overwrite:  # all that could be wrong has been checked
            processes.run_on_main(files.clear)
        if teacher is not None and objective.requires == "pairs":
            processes.run_on_main(lambda: files.begin(config))
            teacher.network.to(device)
            examples, seed = data["train"], training.seed
            data = make_pairs(teacher, objective, examples, files.pairs, seed, stop, processes, quiet=quiet)
        resume(state, files, training, quiet=quiet)
        plan.announce(state, is_limited=any(isinstance(each, TimeLimit) for each in callbacks))
        if training.compiles(device):
            state.compile()
        processes.run_on_main(lambda: files.write_config(config))
        model, saver = Model(state.ema, objective, task, state.step, recipe), Saver(files, training.keep, state)
        with Log(files, training, state.step, state.seconds, processes, quiet=quiet) as log, saver:
            first = [Stopping(stop), plan, Logging(log), Previews(training.snapshot_steps())]
            every, side = [*first, *callbacks, Checkpoints(saver, config)], SideWork(state, training, log.show)
            Trainer(state, model, data, training, files, every, side).train()
        return model if in_one_piece is None else _gathered(model, in_one_piece, state)


def _gathered(model: Model, in_one_piece: Network, state: State) -> Model:
    """Return the model with the weights of its sharded network in one that is whole."""
    in_one_piece.load_state_dict(whole_weights(state))
    model.network = in_one_piece.to(model.device).eval()
    return model


@contextmanager
def _disk(run: Run) -> Iterator[None]:
    """Turn what a disk refuses into UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or run.path}: {error.strerror or error}: fix that, then run the same command again; it "
            f"continues from the last checkpoint"
        ) from None


def prepare(
    network: Network, objective: Objective, task: Task, training: Training, teacher: Model | None, init: Model | None,
    device: torch.device, processes: Processes,
) -> dict[str, Dataset]:  # fmt: skip
    """Check that all parts fit each other, give the network its first weights, and return the data."""

    def ready() -> dict[str, Dataset]:
        if device.type == "cpu":
            keep_freed_memory()
        if training.tensorboard:
            require_tensorboard()
        data = {split: task.dataset(split) for split in ("train", "test")}
        check_parts(objective, training, data, processes.world)
        if any(parameter.is_inference() for parameter in network.parameters()):
            raise UserError("the network was made in torch.inference_mode: make it outside")
        network.float()  # it may be made under another default dtype of torch
        init_from_teacher(network, objective, task, teacher)
        if init is not None:
            load_initial_weights(network, objective, init)
        return data

    return processes.with_timeout(DAY).run_on_all(ready)  # machines that share no cache each read the data


def check_parts(objective: Objective, training: Training, data: dict[str, Dataset], world: int) -> None:
    """Raise UserError where data, steps or batch are too few for the objective or for the processes."""
    for split, dataset in data.items():
        if not len(dataset):
            raise UserError(f"there is no {split} data: add at least one example")
    if training.train_steps < objective.stages:
        raise UserError(
            f"train-steps must be >= {objective.stages}, the stages of this objective, not {training.train_steps}"
        )
    training.part_size(world)
    if world > 1 and training.parallel == "fsdp" and training.snapshots:
        raise UserError("snapshots need a network that is not sharded: pass --snapshots 0, or --parallel ddp")


def run_config(
    network: Network, objective: Objective, task: Task, training: Training, recipe: str, **models: Model | None
) -> dict[str, Any]:
    """Return what a run's config.json and its checkpoints' headers say; models: those it learns from, by their part."""
    config = getattr(network, "config", None)
    return {
        "version": __version__,
        "recipe": recipe,
        "task": describe(task),
        "network": describe(config if isinstance(config, NetworkConfig) else network),
        "objective": describe(objective),
        "training": {"name": "training", **to_dict(training)},
        "has_schedule": objective.has_schedule or objective.stages > 1,
        **{part: describe_teacher(model) for part, model in models.items() if model is not None},
    }
