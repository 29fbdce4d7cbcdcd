"""What is done beside the steps of training: stopping, logging, previews, checkpoints, and what a user adds."""

import math
import warnings
from collections.abc import Collection
from typing import Any

from ..errors import UserError
from ..models.run import Run
from ..system.signals import StopRequest
from . import quality
from .log import Log, measures
from .loggers import Line
from .previews import SNAPSHOT_POINTS, picture, preview_counts, snapshot
from .quality import Results
from .saving import Saver
from .side_work import EVALUATION, HELDOUT, PREVIEW, SNAPSHOT
from .step import MAX_BAD_STEPS, heldout_examples
from .trainer import Trainer


class Callback:
    """Something that is done while a network trains. Override what is wanted.

    After each step, callbacks run in this order: signals and steps that were not finite, the log, previews, the
    user's own, the checkpoint. Of several processes, all call every method.
    """

    def on_step(self, trainer: Trainer) -> None:
        """Act after a step."""

    def on_log(self, trainer: Trainer, line: Line) -> None:
        """Act on a line of the log before it is written; what is added to it is written too."""

    def on_evaluate(self, trainer: Trainer, results: Results) -> None:
        """Act on the task's measures of samples, for each number of sampling steps: {1: {"accuracy": 0.9}, ...}."""

    def on_save(self, trainer: Trainer) -> None:
        """Act after a checkpoint; that of a sharded state may still be on its way to the disk. Not without a run."""

    def on_end(self, trainer: Trainer) -> None:
        """Act after the last step, or the one that training stops at."""


class Stopping(Callback):
    """Stops for a signal, at a step with a finite loss, and for losses that are not finite any more."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def on_step(self, trainer: Trainer) -> None:
        state = trainer.state
        # To ask for bad steps is to wait for the device, and to ask for signals is to wait for the other processes, so
        # on a GPU it is not done after every step.
        looking = trainer.is_due(MAX_BAD_STEPS) or state.skipped.device.type == "cpu"
        ask = looking or state.processes.world == 1
        trainer.signal_number = state.processes.all_reduce_max(self.request.signal_number or 0) if ask else 0
        trainer.saving = trainer.saving or bool(trainer.signal_number)
        bad_steps = int(state.bad_steps_in_a_row) if trainer.saving or looking else 0
        no_good_step = lambda: int(state.skipped) == trainer.step or not math.isfinite(trainer.heldout_loss())
        if bad_steps >= MAX_BAD_STEPS or (trainer.is_last and bad_steps and no_good_step()):
            raise UserError(
                f"loss or gradient was not finite in {bad_steps} steps in a row, up to step {trainer.step}: look for "
                f"bad values in the data, or start again with a lower --learning-rate; earlier checkpoints are "
                f"unchanged"
            )
        # Before the end, weights that are not known to give a finite loss must not replace a checkpoint.
        trainer.saving = trainer.saving and (trainer.is_last or not bad_steps)
        trainer.stopping = bool(trainer.saving and trainer.signal_number and not trainer.is_last)


class Logging(Callback):
    """Writes a line now and then, with each held-out loss and with each checkpoint that is due."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def on_step(self, trainer: Trainer) -> None:
        self.log.add(trainer.figures)
        heldout = trainer.is_due(trainer.training.heldout_every) and trainer.side.is_affordable(
            HELDOUT, heldout_examples(len(trainer.heldout_data), trainer.training)
        )
        results = self._evaluate(trainer)
        if trainer.saving or heldout or results or trainer.step % trainer.training.log_every == 0:
            figures: Line = {**measures(trainer.state), **trainer.batches.figures()}
            if heldout:
                figures["heldout_loss"] = trainer.heldout_loss()
            if results:
                figures |= quality.figures(results)
                for callback in trainer.callbacks:
                    callback.on_evaluate(trainer, results)
            line = self.log.line(trainer.step, figures)
            for callback in trainer.callbacks:
                callback.on_log(trainer, line)
            self.log.write(trainer.step, line)

    def _evaluate(self, trainer: Trainer) -> Results:
        """Return the task's measures of samples where they are due and there is time for them; otherwise none."""
        every, model, side = trainer.training.evaluate_every, trainer.model, trainer.side
        if not every or not trainer.is_due(every) or not side.is_affordable(EVALUATION, quality.passes(model)):
            return {}
        try:
            return quality.evaluate_samples(model, side)
        except UserError as error:  # samples of a network that diverges do not stop it
            warnings.warn(f"no evaluation of step {trainer.step}: {error}", stacklevel=2)
            return {}


class Previews(Callback):
    """Draws pictures of samples, and takes snapshots for an animation, as far as their share of the time allows."""

    def __init__(self, run: Run, snapshot_steps: Collection[int], log: Log) -> None:
        self.run, self.snapshot_steps, self.log = run, snapshot_steps, log

    def on_step(self, trainer: Trainer) -> None:
        model, side, run = trainer.model, trainer.side, self.run
        try:
            if trainer.is_due(trainer.training.sample_every):
                counts = preview_counts(model)
                if side.is_affordable(PREVIEW, sum(counts) * model.task.preview_grid[0]):
                    with side.timed(PREVIEW):
                        made = picture(model, run.samples / f"step_{trainer.step:08d}.png", counts, side)
                    if made is not None:
                        self.log.image(trainer.step, "samples", made)
            if trainer.step in self.snapshot_steps:
                passes = 3 * model.objective.max_steps  # in 1, 2, 4, ... steps, and by the raw weights in the most
                if side.is_affordable(SNAPSHOT, passes * SNAPSHOT_POINTS) and trainer.state.processes.main:
                    with side.timed(SNAPSHOT):
                        snapshot(trainer.state.network, model, run.snapshots / f"step_{trainer.step:08d}.npz")
        except UserError as error:  # samples of a network that diverges do not stop it
            warnings.warn(f"no picture of step {trainer.step}: {error}", stacklevel=2)


class Checkpoints(Callback):
    """Saves the state where that is due, and waits at the end until all of it is on the disk."""

    def __init__(self, saver: Saver, config: dict[str, Any]) -> None:
        self.saver, self.config, self.saved = saver, config, 0

    def on_step(self, trainer: Trainer) -> None:
        # Before the end, weights that are not known to give a finite loss must not replace a checkpoint.
        if trainer.saving and (trainer.is_last or not int(trainer.state.bad_steps_in_a_row)):
            self.saver.save(self.config)
            self.saved = trainer.step
            for callback in trainer.callbacks:
                callback.on_save(trainer)

    def on_end(self, trainer: Trainer) -> None:
        self.saver.finish()

    def save_now(self, trainer: Trainer) -> bool:
        """Save the step just taken, unless it is saved, or its weights may be bad; return whether it is."""
        if self.saved != trainer.step and not int(trainer.state.bad_steps_in_a_row):
            self.saver.save(self.config)
            self.saved = trainer.step
        return self.saved == trainer.step
