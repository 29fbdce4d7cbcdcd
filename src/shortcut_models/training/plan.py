"""What a training will do, and how long that takes here: measured in a few seconds, and said before it starts."""

import copy
import dataclasses
import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from ..base import Batch, Dataset, Network, Objective, Task
from ..system.distributed import Processes
from ..system.machine import keep_freed_memory
from ..system.progress import say
from ..text import format_duration
from .batches import IndexStream
from .callbacks import Callback
from .options import Training
from .state import State
from .step import train_step
from .trainer import Trainer

ENOUGH = 2.0  # seconds after which measuring ends
SHARE = 0.03  # of a training, after which measuring ends
FIRST_ROWS = 8  # of a batch, in the first step that is measured
LONG = 3600.0  # seconds from which on a training on a CPU is warned of
ASKED_EVERY = 10  # steps after which several processes agree on whether the time is over
STEPS_BEFORE, STEPS_MEASURED = 5, 20  # of a training whose own first steps are measured, as they compile and allocate


def seconds_of(
    step: Callable[[int], object], rows: int, clock: Callable[[], float] = time.perf_counter, steps: int | None = None
) -> float:
    """Return the seconds that `step(rows)` takes, from steps with few rows where one with all would take long.

    Measuring takes a small share of what so many steps will take, so that a short training is not held up by it.
    """
    begin, found = clock(), dict[int, float]()

    def measure(size: int) -> None:
        before = clock()
        step(size)
        found[size] = min(clock() - before, found.get(size, float("inf")))

    def is_quick(size: int) -> bool:
        last = max(found)
        enough = ENOUGH if steps is None else min(ENOUGH, SHARE * steps * found[last] * rows / last)
        return clock() - begin + found[last] * size / last <= enough

    size = min(FIRST_ROWS, rows)
    measure(size)
    if found[size] < ENOUGH:
        measure(size)  # without what only a first step does
        sizes = [size]
        while sizes[-1] < rows:
            sizes.append(min(2 * sizes[-1], rows))
        for size in itertools.takewhile(is_quick, [*sizes[1:], rows, rows]):
            measure(size)
    *before, last = sorted(found)
    if not before:
        return found[last] * rows / last
    each = max(0.0, found[last] - found[before[-1]]) / (last - before[-1])
    return found[last] + each * (rows - last)


def measure(
    network: Network, objective: Objective, task: Task, training: Training, read: Callable[[int], Batch],
    device: torch.device, *, teacher: Network | None = None, world: int = 1, first: int = 0,
    steps: int | None = None,
) -> float:  # fmt: skip
    """Return the seconds of a training step here, measured on copies: networks and random numbers stay as they are.

    Args:
        network: as it is before training; copied.
        objective, task, training: as for `fit`.
        read: returns so many rows of a batch.
        device: where it is to train.
        teacher: a trained network, where the objective learns from one; copied.
        world: processes that share each batch.
        first: the steps taken before.
        steps: the steps that are left, if that is known; the fewer, the sooner measuring ends.
    """
    rows = training.part_size(world)
    if device.type == "cpu":
        keep_freed_memory()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        whole = dataclasses.replace(training, accumulate=1)
        state = State.new(copy.deepcopy(network), objective, whole, device, teacher)

        def step(size: int) -> None:
            state.step = first
            float(train_step(state, read(size), task, whole)["loss"])  # waits for the device

        return training.accumulate * seconds_of(step, rows, steps=steps)


class Plan(Callback):
    """Says what a training will do and how long it takes.

    A training on a CPU is measured before it starts. On a GPU, where a second copy might not fit, with several
    processes, and where pairs have yet to be made, its own first steps are measured.
    """

    def __init__(
        self, config: dict[str, Any], training: Training, device: torch.device, processes: Processes, *, quiet: bool
    ) -> None:
        self.config, self.training, self.device, self.processes, self.quiet = config, training, device, processes, quiet
        self.seconds: float | None = None  # of a step
        self.is_limited = False
        self._since, self._until = 0.0, -1

    def measure(
        self, network: Network, objective: Objective, task: Task, data: Dataset, teacher: Network | None, done: int
    ) -> None:
        """Measure a step after `done` ones, if that is possible before the training, and steps are left."""
        if self.quiet or objective.requires == "pairs":  # which have yet to be made
            return
        if self.device.type != "cpu" or self.processes.world > 1 or done >= self.training.train_steps:
            return
        order = getattr(data, "order", None)
        stream = IndexStream(len(data), self.training.batch_size, self.training.seed, 0, 0, order=order)
        rows = stream.rows(done)  # those that come next, which are read again
        read = lambda size: data.__getitems__(rows[:size])
        self.seconds = measure(
            network, objective, task, self.training, read, self.device, teacher=teacher, first=done,
            steps=self.training.train_steps - done,
        )  # fmt: skip

    def announce(self, state: State, *, is_limited: bool) -> None:
        """Say what the data holds, and what is to be done from this state; is_limited: the time was chosen."""
        self.is_limited = is_limited
        left = self.training.train_steps - state.step
        if self.quiet or not self.processes.main:
            return
        if self.config["data"]:
            say(self.config["data"])
        if not left:
            return
        parameters = sum(parameter.numel() for parameter in state.network.parameters())
        say(describe(self.config, parameters, self.training, left))
        if self.seconds is None:
            self._until = state.step + STEPS_BEFORE + STEPS_MEASURED
        else:
            self._say_time(left)

    def on_step(self, trainer: Trainer) -> None:
        """Measure the first steps, where nothing was measured before."""
        if self.seconds is not None or trainer.step > self._until:
            return
        if trainer.step in (self._until - STEPS_MEASURED, self._until):
            float(trainer.figures["loss"])  # waits for the device
            now, earlier = trainer.side.clock() - trainer.side.seconds, self._since
            self._since = now
            if trainer.step == self._until and not trainer.is_last:
                self.seconds = (now - earlier) / STEPS_MEASURED
                self._say_time(trainer.training.train_steps - trainer.step)

    def _say_time(self, left: int) -> None:
        assert self.seconds is not None
        where = "this CPU" if self.device.type == "cpu" else "this GPU"
        say(describe_time(self.seconds, left, self.training.side_share, where))
        if self.device.type == "cpu" and left * self.seconds > LONG and not self.is_limited:
            warnings.warn(advice(left * self.seconds, self.config["task"], self.config["network"]), stacklevel=4)


class TimeLimit(Callback):
    """Ends a training with a checkpoint when its time is over: minutes, from `begin` on, by `time.monotonic`."""

    def __init__(self, minutes: float, begin: float, *, quiet: bool = False) -> None:
        self.minutes, self.end, self.quiet = minutes, begin + 60 * minutes, quiet

    def on_step(self, trainer: Trainer) -> None:
        processes, step = trainer.state.processes, trainer.step
        if trainer.is_last or trainer.stopping or (processes.world > 1 and step % ASKED_EVERY):
            return
        over = processes.all_reduce_max(int(time.monotonic() > self.end))
        if not over or int(trainer.state.bad_steps_in_a_row):  # such weights must not replace a checkpoint
            return
        trainer.stop()
        if processes.main and not self.quiet:
            whole = f"{trainer.training.train_steps:,}"
            say(
                f"reached the time limit of {format_minutes(self.minutes)} at step {step:,} of {whole}: the run is "
                f"saved; run the same command again to train the rest"
            )


def format_minutes(minutes: float) -> str:
    """Return "10 minutes"."""
    return f"{minutes:g} minute{'s' * (minutes != 1)}"


def describe(config: dict[str, Any], parameters: int, training: Training, left: int) -> str:
    """Return in one line what a training is to do: network, method, steps and batch."""
    network, method = (config[part].get("name") or config[part]["class"] for part in ("network", "objective"))
    steps = f"{left:,} steps" if left == training.train_steps else f"{left:,} of {training.train_steps:,} steps left"
    return (
        f"to train: network {network}, {parameters:,} parameters, by {method}; {steps}, batch {training.batch_size:,}"
    )


def describe_time(seconds: float, left: int, side_share: float, where: str) -> str:
    """Return in one line how long so many steps of so many seconds take."""
    whole = seconds * left
    most = f" at most {format_duration(side_share * whole)}" if side_share < 1 else ""
    return (
        f"time on {where}: about {format_duration(whole)}, {format_duration(seconds)} a step; previews and held-out "
        f"losses take{most} more"
    )


def advice(seconds: float, task: dict[str, Any], network: dict[str, Any]) -> str:
    """Return what to change so that a training takes less than so many seconds."""
    size = task.get("image_size")
    ways = ["--minutes N, which fits all to N minutes"]
    ways += [f"--task.image-size below {size}"] if size else []
    ways += ["--network unet"] if size and network.get("name") == "dit" else ["a smaller --network"]
    time_here = f"training takes about {format_duration(seconds)} here"
    return f"{time_here}: for less, pass {', '.join(ways)}, or fewer --train-steps"
