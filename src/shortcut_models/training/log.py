"""What a run says while it trains: a progress bar, metrics.jsonl, and loggers."""

import contextlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils import get_total_norm

from ..models.run import Run
from ..system.distributed import Processes
from ..system.progress import progress
from .loggers import Guarded, Line
from .options import Training
from .sharding import full_tensor
from .state import State


def measures(state: State) -> Line:
    """Return what is measured only when a line is logged."""
    return {
        "learning_rate": float(state.optimizer.param_groups[0]["lr"]),
        "parameter_norm": float(full_tensor(get_total_norm([p.detach() for p in state.network.parameters()]))),
        "skipped": int(state.skipped),
        "seconds": state.seconds,
    }


class Log(contextlib.AbstractContextManager["Log"]):
    """Collects figures on their device, without waiting for them, and writes their means now and then.

    The means are over all processes; the main one writes them and has the bar.
    """

    def __init__(
        self, run: Run | None, training: Training, start: int, seconds: float, processes: Processes,
        loggers: Sequence[Guarded] = (), *, quiet: bool,
    ) -> None:  # fmt: skip
        self.run, self.processes, self.loggers = run, processes, loggers if processes.main else ()
        self.start_step = start
        self.pending: dict[str, list[Tensor]] = defaultdict(list)
        self.since, self.since_step = seconds, start
        self.bar = progress(training.train_steps, "step", quiet=quiet or not processes.main, initial=start)

    def start(self, config: dict[str, Any]) -> None:
        """Start the loggers, in the main process. Raises UserError, in all processes, where one does not start."""

        def start_all() -> None:
            for logger in self.loggers:
                logger.start(self.run, config, self.start_step)

        self.processes.run_on_main(start_all)

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
        for logger in self.loggers:
            logger.call("log", step, dict(line))
        if "loss" in line:
            self.bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Send a picture to the loggers, in the main process."""
        for logger in self.loggers:
            logger.call("image", step, name, image)

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
        for logger in self.loggers:
            logger.close()
