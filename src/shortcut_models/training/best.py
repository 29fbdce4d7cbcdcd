"""The best model of a run so far, by one figure of the log, kept beside the newest checkpoints."""

import math
from typing import Any

from ..base import Task
from ..errors import UserError
from ..metrics.catalogue import METRICS, metric
from ..models import checkpoint
from ..models.run import Run
from .callbacks import Callback
from .loggers import Line
from .options import Training
from .saving import whole_weights
from .trainer import Trainer

HELDOUT_LOSS = "heldout_loss"


def figure_of(name: str) -> str:
    """Return the figure of the log that a name stands for: a measure of the task is the one at 1 step."""
    return name if name == HELDOUT_LOSS or name.startswith("evaluate/") else f"evaluate/1/{name}"


def check_measure(training: Training, task: Task) -> None:
    """Raise UserError where nothing says which way a figure is good, or where it is never measured."""
    name = training.keep_best
    if not name:
        return
    figure = figure_of(name)
    if figure != HELDOUT_LOSS and not training.evaluate_every:
        raise UserError(f"keep-best {name} is measured by evaluations: pass --evaluate-every, or {HELDOUT_LOSS}")
    if not _direction(figure):
        known = [HELDOUT_LOSS, *(each for each, entry in METRICS.items() if entry.better and entry.is_quality)]
        raise UserError(f"keep-best {name}: nothing says which way it is good; choose one of {', '.join(known)}")


def _direction(figure: str) -> str:
    return "lower" if figure == HELDOUT_LOSS else metric(figure.rpartition("/")[2]).better


class KeepBest(Callback):
    """Writes the sampling EMA to `checkpoints/best` whenever its figure in the log is better than ever."""

    def __init__(self, run: Run, training: Training, config: dict[str, Any]) -> None:
        self.run, self.config, self.figure = run, config, figure_of(training.keep_best or HELDOUT_LOSS)
        self.sign = 1 if _direction(self.figure) == "higher" else -1
        self.best = self._earlier()

    def _earlier(self) -> float:
        """Return the figure of the best model of a run that resumes, as its file has it; NaN: there is none."""
        try:
            _, header = checkpoint.read(self.run.best / checkpoint.MODEL)
        except (OSError, UserError):
            return math.nan
        found = header.get("best", {})
        return float(found["value"]) if found.get("figure") == self.figure else math.nan

    def on_log(self, trainer: Trainer, line: Line) -> None:
        """Keep the model, if it is the best one. Raises UserError where the task does not have the measure."""
        value = line.get(self.figure)
        if value is None:
            measured = [name for name in line if name.startswith("evaluate/")]
            if measured and self.figure != HELDOUT_LOSS:
                names = ", ".join(measured)
                raise UserError(f"keep-best: {self.figure} is not measured for this task: choose one of {names}")
            return
        if not math.isfinite(value) or self.sign * (value - self.best) <= 0:
            return
        state = trainer.state
        header = self.config | {"step": trainer.step, "best": {"figure": self.figure, "value": value}}
        weights = whole_weights(state, keep=state.processes.main)
        state.processes.run_on_main(lambda: checkpoint.save_model(self.run.best, weights, header))
        self.best = value
