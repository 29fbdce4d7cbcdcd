"""What a run says while it trains: a progress bar, metrics.jsonl, and TensorBoard."""

import contextlib
import importlib.util
import json
import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from ..errors import UserError
from ..models.run import Run
from ..system.distributed import Processes
from ..system.progress import progress
from .options import Training
from .sharding import full_tensor
from .state import State


def require_tensorboard() -> None:
    """Raise UserError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs an extra: pip install 'shortcut-models[tensorboard]'")


Line = dict[str, float | int]  # Figures by their names, as a line of metrics.jsonl holds them.


def measures(state: State, training: Training) -> Line:
    """Return what is measured only when a line is logged."""
    return {
        "learning_rate": training.learning_rate_at(state.step - 1, state.stages),
        "parameter_norm": float(full_tensor(get_total_norm([p.detach() for p in state.network.parameters()]))),
        "skipped": int(state.skipped),
        "seconds": state.seconds,
    }


class Log(contextlib.AbstractContextManager["Log"]):
    """Collects figures on their device, without waiting for them, and writes their means now and then.

    The means are over all processes; the main one writes them and has the bar.
    """

    def __init__(
        self, run: Run | None, training: Training, start: int, seconds: float, processes: Processes, *, quiet: bool
    ) -> None:  # fmt: skip
        self.run, self.processes = run, processes
        self.writer: Any = None
        if training.tensorboard and processes.main:
            from torch.utils.tensorboard import SummaryWriter

            if run is None:
                raise UserError("tensorboard writes into a run: pass run, or leave tensorboard out")
            self.writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=start + 1)
        self.pending: dict[str, list[Tensor]] = defaultdict(list)
        self.since, self.since_step = seconds, start
        self.bar = progress(training.train_steps, "step", quiet=quiet or not processes.main, initial=start)

    def add(self, figures: dict[str, Tensor]) -> None:
        """Add the figures of one step: scalars or [b], in which NaN means not applicable."""
        for name, value in figures.items():
            self.pending[name].append(value.detach().flatten())
        self.bar.update()

    def line(self, step: int, figures: Line) -> Line:
        """Return a line: the means since the last one, and these figures. All processes must call it."""
        seconds = figures["seconds"]
        rate = (step - self.since_step) / max(seconds - self.since, 1e-9)
        self.since, self.since_step = seconds, step
        return {"step": step, **self._means(), **figures, "steps_per_second": rate}

    def write(self, step: int, line: Line) -> None:
        """Write a line, in the main process."""
        if not self.processes.main:
            return
        line = {name: value for name, value in line.items() if math.isfinite(value)}  # JSON has no others
        if self.run is not None:
            with open(self.run.metrics, "a") as file:
                file.write(json.dumps(line) + "\n")
        if self.writer is not None:
            for name, value in line.items():
                self.writer.add_scalar(name, value, step)
        if "loss" in line:
            self.bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)

    def show(self, name: str) -> None:
        """Show on the bar what is done beside the steps; the next step takes the name away."""
        self.bar.set_description(name, refresh=bool(name))

    def _means(self) -> dict[str, float]:
        """Return the mean of all that is pending, over all processes, which may have seen different numbers of it."""
        mine = {}
        for name, values in self.pending.items():
            value = torch.cat(values).double()
            mine[name] = torch.stack([value.nansum(), (~value.isnan()).sum()]).tolist()
        self.pending.clear()
        total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for found in self.processes.gather(mine):
            for name, (part, count) in found.items():
                total[name] = [total[name][0] + part, total[name][1] + count]
        return {name: part / count if count else math.nan for name, (part, count) in total.items()}

    def __exit__(self, *exception: object) -> None:
        self.bar.close()
        if self.writer is not None:
            self.writer.close()
