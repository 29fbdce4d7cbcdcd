"""The trainer: it takes steps, and calls what is done beside them. It knows nothing of what it trains."""

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..base import Dataset
from ..data.arrays import resident
from ..errors import Stopped
from ..models.model import Model
from ..models.run import Run
from .batches import batches
from .options import Training
from .side_work import HELDOUT, SideWork
from .state import State
from .step import heldout_loss, train_step

if TYPE_CHECKING:
    from .callbacks import Callback


class Trainer:
    """A training while it runs: the loop, and what callbacks see of it and can ask of it."""

    state: State  # networks, optimiser and counters
    model: Model  # the model with the sampling EMA, as it is now
    figures: dict[str, Tensor]
    """what the step just taken measured, on the device: its loss, the norm of its gradient, ..."""
    saving: bool  # whether a checkpoint is saved after this step; set it in `on_step` to ask for one
    stopping: bool  # whether training ends after this step for a signal; to end it, call `stop`
    run: Run | None  # the run's files; None where the training is in memory
    signal_number: int  # of the signal that training stops for; 0 is none

    def __init__(
        self, state: State, model: Model, data: dict[str, Dataset], training: Training, run: Run | None,
        callbacks: "Sequence[Callback]", side: SideWork, save: "Callable[[Trainer], bool] | None" = None,
    ) -> None:  # fmt: skip
        self.state, self.model, self.training, self.run, self.callbacks = state, model, training, run, callbacks
        train, self.heldout_data = (resident(data[split], state.skipped.device) for split in ("train", "test"))
        self.batches = batches(
            train, training.batch_size, training.seed, state.step, training.train_steps, training.workers,
            state.processes.rank, state.processes.world,
        )  # fmt: skip
        self.side = side
        self.figures, self.saving, self.stopping, self.signal_number = {}, False, False, 0
        self._heldout: float | None = None
        self._save, self._stop_asked = save, False

    @property
    def step(self) -> int:
        """The number of steps taken."""
        return self.state.step

    @property
    def is_last(self) -> bool:
        """Whether the step just taken is the last one."""
        return self.step == self.training.train_steps

    def is_due(self, every: int) -> bool:
        """Return whether something is due that is done after every so many steps, and at the end."""
        return self.is_last or self.step % every == 0

    def train(self) -> None:
        """Take the steps that are left. Raise Stopped where a signal ended them; a run has been saved."""
        side = self.side
        earlier, start = self.state.seconds + side.seconds, side.clock()
        with contextlib.closing(iter(self.batches)) as batches:  # also after an error within a step
            for batch in batches:
                self.figures = train_step(self.state, batch, self.model.task, self.training)
                self.state.seconds = earlier + side.clock() - start - side.seconds
                self.model.step = self.step
                self.saving = self._stop_asked or self.is_due(self.training.checkpoint_every)
                self._heldout = None
                for callback in self.callbacks:
                    callback.on_step(self)
                # Weights that may be bad must not replace a checkpoint: the next good step ends it then.
                if self.stopping or (self._stop_asked and not int(self.state.bad_steps_in_a_row)):
                    break
        for callback in self.callbacks:
            callback.on_end(self)
        if self.stopping and self.signal_number:
            kept = "and saved" if self.run is not None else "and not saved, as it has no run"
            raise Stopped(f"stopped at step {self.step} of {self.training.train_steps}, {kept}", self.signal_number)

    def stop(self) -> None:
        """End training with a checkpoint of this step; called in `on_step`, by all processes.

        Where the loss or the gradient of this step was not finite, the next step with finite ones is the last.
        """
        self.saving = self._stop_asked = True

    def save(self) -> bool | None:
        """Write a checkpoint of the step just taken, before an error ends the training.

        Returns whether there is one now; not where its weights may be bad, nor among several processes, as others may
        not have the error. None: the training is in memory.
        """
        if self._save is None:
            return None
        return self.state.processes.world == 1 and self._save(self)

    def heldout_loss(self) -> float:
        """Return the held-out loss after this step, measured once; all processes must call it."""
        if self._heldout is None:
            with self.side.timed(HELDOUT):
                self._heldout = heldout_loss(self.state, self.heldout_data, self.model.task, self.training)
        return self._heldout
