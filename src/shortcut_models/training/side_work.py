"""What is done beside the steps: it is timed, shown by name, and left out where it would cost too much."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

import torch

from .options import Training
from .state import State

PREVIEW, HELDOUT, SNAPSHOT, EVALUATION = "preview", "held-out loss", "snapshot", "evaluation"
FORWARD = 1 / 3  # cost of one forward pass in passes with gradients, until it has been measured


class SideWork:
    """The time of previews, held-out losses, evaluations and snapshots, and whether there is time for another one.

    Each kind has its part of `side_share` of the time that all steps of the training will take, as far as the steps so
    far show it. The last of each kind is always made, so its cost is kept back. All but snapshots are spread
    evenly over the steps, and snapshots, as they are asked for, over the logarithm of the steps. What is left out
    changes neither weights nor random numbers, as every step and every held-out loss seeds its own.
    """

    def __init__(
        self, state: State, training: Training, show: Callable[[str], None] = lambda name: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self.state, self.training, self.show, self.clock = state, training, show, clock
        self.first_step, self.first_seconds = state.step, state.seconds
        self.seconds = 0.0
        """of all side work of this process"""
        self._spent: dict[str, float] = {}
        self._cost: dict[str, float] = {}
        self._running = False

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Show and time a piece of side work; one within another is part of it."""
        if self._running:
            yield
            return
        if self.state.skipped.device.type != "cpu":  # steps that the device has yet to do are not side work
            torch.accelerator.synchronize(self.state.skipped.device)
        self._running, start = True, self.clock()
        self.show(name)
        try:
            yield
        finally:
            self._running, cost = False, self.clock() - start
            self.seconds += cost
            self._cost[name] = cost
            self._spent[name] = self._spent.get(name, 0.0) + cost
            self.show("")

    def is_affordable(self, name: str, examples: int) -> bool:
        """Return whether there is time for a piece of side work now. All processes must ask, and get one answer.

        examples: passes through the network, times the examples of each, from which its first cost is guessed.
        """
        processes = self.state.processes
        return bool(processes.all_reduce_max(int(processes.main and self._is_affordable(name, examples))))

    def _is_affordable(self, name: str, examples: int) -> bool:
        training, step = self.training, self.state.step
        if step == training.train_steps or training.side_share == 1:
            return True
        each_step = (self.state.seconds - self.first_seconds) / max(step - self.first_step, 1)
        cost = self._cost.get(name, FORWARD * examples / training.batch_size * each_step)
        left = training.side_share * self._part(name) * each_step * training.train_steps - cost
        first = name not in self._spent
        due = 1.0 if first else self._progress(name, step) - self._progress(name, self.first_step)
        return self._spent.get(name, 0.0) + cost <= due * left

    def _part(self, name: str) -> float:
        """Return a kind's part of the time for all of them."""
        others = 3 if self.training.evaluate_every else 2
        if not self.training.snapshots:
            return 1 / others
        return 3 / 5 if name == SNAPSHOT else 2 / 5 / others

    def _progress(self, name: str, step: int) -> float:
        steps = self.training.train_steps
        return math.log1p(step) / math.log1p(steps) if name == SNAPSHOT else step / steps
