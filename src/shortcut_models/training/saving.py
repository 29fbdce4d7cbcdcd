"""When a run is saved and how it resumes, with its state in one piece or sharded over processes."""

import contextlib
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UserError
from ..models import checkpoint
from ..models.run import Run
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


def resume(state: State, run: Run, training: Training) -> None:
    """Go back to the newest checkpoint that is whole, if there is one. All processes must call it."""
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
        raise UserError(f"{run.path} has been trained for {state.step} steps already: ask for more --train-steps")
    state.processes.run_on_main(lambda: run.forget_after(state.step))


def _look(path: Path, state: State) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Return the model of a checkpoint, and its state: None where it is sharded, but whole."""
    ema, _ = checkpoint.read(path / checkpoint.MODEL)
    if (path / sharded_checkpoint.FOLDER).exists():
        sharded_checkpoint.check(path, state.processes)
        return ema, None
    tensors, _ = checkpoint.read(path / checkpoint.STATE)
    return ema, tensors
