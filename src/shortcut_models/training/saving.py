"""When a run is saved and how it resumes, with its state in one piece or sharded over processes."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..models import checkpoint
from ..models.run import Run
from ..path import stage_of
from ..system.progress import say
from . import sharded_checkpoint
from .options import Training
from .sharding import full_tensor
from .state import State


class Saver(contextlib.AbstractContextManager["Saver"]):
    """Saves a state: at once where it is in one piece, else in the background. All processes must call its methods."""

    def __init__(self, run: Run, keep: int, state: State) -> None:
        self.folder, self.keep, self.state = run.checkpoints, keep, state
        self.background = (
            sharded_checkpoint.BackgroundSaver(self.folder, keep, state.processes) if state.sharded else None
        )

    def save(self, config: dict[str, Any]) -> None:
        """Write a checkpoint of the state as it is now."""
        state, header = self.state, config | {"step": self.state.step}
        if self.background is None:
            content = (state.step, state.ema.state_dict(), state.tensors(), header, self.keep)
            state.processes.run_on_main(lambda: checkpoint.save(self.folder, *content))
        else:
            ema = whole_weights(state, keep=state.processes.main)
            self.background.save(state.step, ema, state.tensors(), header)

    def finish(self) -> None:
        """Wait until all that was saved is on the disk."""
        if self.background is not None:
            self.background.wait()

    def __exit__(self, *exception: object) -> None:
        if self.background is not None:
            self.background.close()


def whole_weights(state: State, *, keep: bool = True) -> dict[str, Tensor]:
    """Return the sampling EMA on the CPU, in one piece, where a process keeps it. All must call it."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.ema.state_dict().items():
        gathered = full_tensor(tensor)
        if keep:
            found[name] = gathered.cpu()
    return found


def resume(state: State, run: Run, training: Training, *, quiet: bool = True) -> None:
    """Go back to the newest checkpoint that is whole, if there is one. All processes must call it.

    quiet: do not say what another number of steps than before means for the schedules.
    """
    found = checkpoint.first_whole(run.checkpoints, lambda path: _look(path, state))
    if found is not None:
        path, (ema, tensors) = found
        try:
            state.restore(sharded_checkpoint.read(path, state) if tensors is None else tensors, ema)
        except (RuntimeError, LookupError, ValueError):
            raise UserError(f"{path} does not fit this network: use the one the run was started with") from None
    if len(set(state.processes.gather(state.step))) > 1:
        raise UserError(
            f"not all processes see the checkpoints of {run.path}: choose a directory that all machines share"
        )
    if state.step > training.train_steps:
        raise UserError(
            f"{run.path} has been trained for {state.step} steps already, more than --train-steps "
            f"{training.train_steps}: ask for at least as many, or start from scratch with --overwrite"
        )
    said = state.processes.run_on_main(lambda: new_end(state, run, training))
    if said and not quiet:
        state.processes.run_on_main(lambda: say(said))
    state.processes.run_on_main(lambda: run.forget_after(state.step))


def new_end(state: State, run: Run, training: Training) -> str:
    """Describe what another number of steps than before means for a run that resumes; "" where it is the same.

    Raises:
        UserError: the objective's stages would begin at other steps than those that have been taken.
    """
    earlier = run.read_config()["training"].get("train_steps") if run.config.exists() else None
    done, steps = state.step, training.train_steps
    if not done or earlier in (None, steps):
        return ""
    before, stages = dataclasses.replace(training, train_steps=earlier), state.stages
    # The step taken last is looked at, as at the first of a stage its teacher has not been replaced yet.
    was, now = (stage_of((done - 1) / each, stages) + 1 for each in (earlier, steps))
    if was != now:
        raise UserError(
            f"{run.path} has been trained for {done} of {earlier} steps, and is in stage {was} of {stages}; with "
            f"{steps} steps this would be stage {now}, which has another teacher: "
            f"pass --train-steps {earlier}, or start from scratch with --overwrite"
        )
    rates = (f"{each.learning_rate_at(done, stages):.3g}" for each in (training, before))
    text = f"{run.path}: train-steps is now {steps:,}, and was {earlier:,}; at step {done:,} the learning rate is "
    text += "{} where it was {}".format(*rates) if training.schedule != "constant" else f"{next(rates)} as before"
    if state.objective.has_schedule and stages == 1:
        text += (
            f", and the targets are those of {done / steps:.0%} of the training where they were of {done / earlier:.0%}"
        )
    return text


def _look(path: Path, state: State) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Return the model of a checkpoint, and its state: None where it is sharded, but whole."""
    ema, _ = checkpoint.read(path / checkpoint.MODEL)
    if (path / sharded_checkpoint.FOLDER).exists():
        sharded_checkpoint.check(path, state.processes)
        return ema, None
    tensors, _ = checkpoint.read(path / checkpoint.STATE)
    return ema, tensors
