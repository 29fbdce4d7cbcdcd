"""Training a network, in a run directory or in memory: what comes before the steps, and what comes after them."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._version import __version__
from ..base import Dataset, Network, NetworkConfig, Objective, Task
from ..config import to_dict
from ..errors import UserError
from ..models.checkpoint import newest_step
from ..models.model import Model
from ..models.parts import describe
from ..models.run import Run
from ..networks.wrapped import as_network
from ..randomness import seed_of
from ..system.defaults import torch_defaults
from ..system.distributed import Processes, process_group
from ..system.machine import keep_freed_memory, torch_device
from ..system.signals import StopRequest
from ..system.torchrun import DAY
from .arguments import checked
from .best import KeepBest, check_measure
from .callbacks import Callback, Checkpoints, Logging, Previews, Stopping
from .hooks import as_callbacks
from .log import Log
from .loggers import Guarded, open_loggers
from .options import Training
from .pairs import make_pairs
from .plan import Plan, TimeLimit
from .saving import Saver, resume, whole_weights
from .side_work import SideWork
from .state import State
from .teacher import describe_teacher, init_from_teacher
from .trainer import Trainer
from .trial import try_network
from .warm_start import load_initial_weights


@dataclass(frozen=True)
class _Job:
    """What is trained, how, on what and where, once all of it is known."""

    network: Network
    objective: Objective
    task: Task
    training: Training
    run: Run | None
    config: dict[str, Any]
    recipe: str
    teacher: Model | None
    init: Model | None
    callbacks: Sequence[Callback]
    loggers: Sequence[Guarded]
    overwrite: bool
    quiet: bool


@checked
@torch_defaults(gradients=True)
def fit(
    network: NetworkConfig | nn.Module, objective: Objective, task: Task, *,
    run: Path | str | None = None, training: Training | None = None,
    recipe: str = "", teacher: Model | None = None, init: Model | None = None,
    callbacks: Sequence[Any] = (), loggers: Sequence[Any] = (), overwrite: bool = False, quiet: bool = False,
) -> Model:  # fmt: skip
    """Train a network, or continue a run that was stopped: to resume, call it again with the same arguments.

    All processes that torchrun started call it, and train one network together. The state of torch's global generator
    is the same after it as before.

    Args:
        network: a configuration, whose network is built for the task, with first weights that follow from
            `training.seed`; or a network for `task.shape` and `task.conditions`, which is trained in place.
        objective: the method.
        task: the data; read here, unless it was resolved before.
        run: the run's directory; made where it does not exist. None: train in memory. Then no file is written, so
            there are no checkpoints to resume from and no pictures. The model is the same.
        training: the trainer's options; None: the default ones.
        recipe: a name for the run's records.
        teacher: a trained model, for methods that learn from one; a network of the same sizes begins with its weights.
        init: a trained model whose weights the network begins with: see `warm_start.load_initial_weights`.
        callbacks: what else is done while the network trains: objects with any methods of `Callback`.
        loggers: where the lines of the log go, beside metrics.jsonl: names of LOGGERS, and objects like `Logger`.
        overwrite: start from scratch where the directory holds a run, which is removed.
        quiet: no progress bar, and no plan of what it will do and how long that takes.

    Returns:
        The model with the sampling EMA, as `load(run)` returns it.

    Raises:
        UserError: an argument is of the wrong kind; the directory holds another run; a part is missing or does not
            fit; ten steps in a row were not finite; the disk refused; processes cannot share a batch evenly.
        CallbackError: a callback raised an error, which is the cause; a run has been saved.
        Stopped: SIGTERM or Ctrl-C came, to any of the processes; a run has been saved.
        PeerLost: another process ended.
    """
    if overwrite and run is None:
        raise UserError("overwrite removes a run, and training in memory has none: pass run, or leave overwrite out")
    training, files = training or Training(), None if run is None else Run(run)
    if training.keep_best and files is None:
        raise UserError("keep-best writes into a run: pass run, or leave keep_best out")
    hooks, opened = as_callbacks(callbacks), open_loggers(loggers)
    with _disk(files), process_group(training.device) as processes:
        task = _resolved(task, processes)
        built = _build(network, task, training.seed)
        config = run_config(built, objective, task, training, recipe, teacher=teacher, init=init)
        job = _Job(
            built, objective, task, training, files, config, recipe, teacher, init, hooks, opened, overwrite, quiet
        )
        with StopRequest() as stop:
            return _train(job, processes, stop)


def _resolved(task: Task, processes: Processes) -> Task:
    """Return the task with all that its data decides; the main process reads, the others take what it found."""

    def changed() -> Task | None:
        found = task.resolve()
        return None if found is task else found  # every process keeps the data that it has read

    return processes.with_timeout(DAY).run_on_main(changed) or task


def _build(network: NetworkConfig | nn.Module, task: Task, seed: int) -> Network:
    """Return the network of a configuration, with the first weights of a seed, or the network given."""
    if isinstance(network, NetworkConfig):
        with torch.random.fork_rng([]):
            torch.manual_seed(seed_of(seed))  # of the first weights; the steps have other seeds
            network = network.build(task.shape, task.conditions)
    return as_network(network, task.conditions)


def _train(job: _Job, processes: Processes, stop: StopRequest) -> Model:
    """Take all steps that are left, from the newest checkpoint on where there is one, and return the model."""
    network, objective, training, teacher, files = job.network, job.objective, job.training, job.teacher, job.run
    device = processes.run_on_all(lambda: torch_device(training.device))
    data = prepare(network, objective, job.task, training, teacher, job.init, device, processes)
    config = job.config | {"data": job.task.describe_data()}
    with ExitStack() as held:
        held.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))  # steps seed it
        if files is not None:
            processes.run_on_main(lambda: held.enter_context(files.hold(config, overwrite=job.overwrite)))
        teacher_network = None if teacher is None else teacher.network
        plan = Plan(config, training, device, processes, quiet=job.quiet)
        begin = 0 if files is None or job.overwrite else newest_step(files.checkpoints)
        plan.measure(network, objective, job.task, data["train"], teacher_network, begin)  # before a state takes memory
        in_one_piece = copy.deepcopy(network) if processes.world > 1 and training.parallel == "fsdp" else None
        state = State.new(network, objective, training, device, teacher_network, processes)
        if files is not None and job.overwrite:  # all that could be wrong has been checked
            processes.run_on_main(files.clear)
        if teacher is not None and objective.requires == "pairs":
            if files is not None:
                processes.run_on_main(lambda: files.begin(config))
            teacher.network.to(device)
            examples, folder = data["train"], None if files is None else files.pairs
            data = make_pairs(teacher, objective, examples, folder, training.seed, stop, processes, quiet=job.quiet)
        if files is not None:
            resume(state, files, training, quiet=job.quiet)
        plan.announce(state, is_limited=any(isinstance(each, TimeLimit) for each in job.callbacks))
        if training.compiles(device):
            state.compile()
        model = Model(state.ema, objective, job.task, state.step, job.recipe)
        if files is not None:
            processes.run_on_main(lambda: files.write_config(config))
        log = held.enter_context(
            Log(files, training, state.step, state.seconds, processes, job.loggers, quiet=job.quiet)
        )
        log.start(config)
        every: list[Callback] = [Stopping(stop), plan, Logging(log)]
        checkpoints = None
        if files is not None:
            checkpoints = Checkpoints(held.enter_context(Saver(files, training.keep, state)), config)
            every += [KeepBest(files, training, config)] if training.keep_best else []
            every += [Previews(files, training.snapshot_steps(), log)]
        every += [*job.callbacks, *([] if checkpoints is None else [checkpoints])]
        side, save = SideWork(state, training, log.show), None if checkpoints is None else checkpoints.save_now
        Trainer(state, model, data, training, files, every, side, save).train()
    return model if in_one_piece is None else _gathered(model, in_one_piece, state)


def _gathered(model: Model, in_one_piece: Network, state: State) -> Model:
    """Return the model with the weights of its sharded network in one that is whole."""
    in_one_piece.load_state_dict(whole_weights(state))
    model.network = in_one_piece.to(model.device).eval()
    return model


@contextmanager
def _disk(run: Run | None) -> Iterator[None]:
    """Turn what a disk refuses into UserError."""
    try:
        yield
    except OSError as error:
        name = error.filename or ("the disk" if run is None else run.path)
        then = "" if run is None else "; it continues from the last checkpoint"
        raise UserError(f"{name}: {error.strerror or error}: fix that, then run the same command again{then}") from None


def prepare(
    network: Network, objective: Objective, task: Task, training: Training, teacher: Model | None, init: Model | None,
    device: torch.device, processes: Processes,
) -> dict[str, Dataset]:  # fmt: skip
    """Check that all parts fit each other, give the network its first weights, and return the data."""

    def ready() -> dict[str, Dataset]:
        if device.type == "cpu":
            keep_freed_memory()
        check_measure(training, task)
        data = {split: task.dataset(split) for split in ("train", "test")}
        check_parts(objective, training, data, processes.world)
        if any(parameter.is_inference() for parameter in network.parameters()):
            raise UserError("the network was made in torch.inference_mode: make it outside")
        network.float()  # it may be made under another default dtype of torch
        sharding = processes.world > 1 and training.parallel == "fsdp"  # whole, it might not fit on the device
        place = torch.device("cpu") if sharding else device
        try_network(network.to(place), objective, task, place)
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
    if world > 1 and training.parallel == "fsdp" and training.optimizer != "adamw":
        raise UserError("parallel fsdp shards the state of adamw alone: pass --optimizer adamw, or --parallel ddp")


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
