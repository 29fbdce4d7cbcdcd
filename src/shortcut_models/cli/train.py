"""The command `shortcut train`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import annotated_types as at

from ..errors import UserError
from ..recipes.train import train_recipe
from ..system.torchrun import once_per_job
from ..tasks import Imitation
from ..text import quote
from .recipe import RecipeCommand


@dataclass(frozen=True, kw_only=True)
class Train(RecipeCommand):
    run: Path | None = None
    """run directory (default: runs/RECIPE)"""
    teacher: Path | None = None
    """trained run or model file, for objectives that learn from one (default: half of the steps train one)"""
    init_from: Path | None = None
    """trained run or model file whose weights the network starts with, a flow-matching model for instance"""
    overwrite: bool = False
    """start from scratch where the directory holds a run: what was trained there is removed"""
    minutes: Annotated[float, at.Gt(0)] | None = None
    """time to fit the training to, on this machine: it chooses the sizes and numbers of steps that no option gives"""

    loggers: Sequence[str] = ()
    """where the log goes beside metrics.jsonl: csv, tensorboard, wandb, trackio; all but csv need an extra"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minutes is not None and "training.train_steps" in self.given:
            raise UserError("minutes chooses the number of steps: leave --train-steps out")

    def __call__(self) -> None:
        run = self.run or Path("runs") / self.name
        trained = train_recipe(
            self.name, self.recipe, run, self.teacher, init_from=self.init_from, overwrite=self.overwrite,
            minutes=self.minutes, keep=self.given, loggers=self.loggers,
        )  # fmt: skip
        name = quote(run)
        tries = [f"sample {name} --steps 1 4 --out samples.npz", f"evaluate {name}"]
        more = ""
        if isinstance(trained.task, Imitation):
            from ..policies.environments import is_known

            tries[0] = f"rollout {name} --steps 1 4"
            if not is_known(trained.task.environment):
                tries[0] = f"plot-chunks {name} --out chunks.png"
                more = (
                    f"; to judge it by acting, `shortcut rollout {name} --environment ENV`, where ENV is the id of an "
                    f"environment of Gymnasium, or MODULE:FACTORY"
                )
        done = f"{run} is trained: try {' or '.join(f'`shortcut {words}`' for words in tries)}{more}"
        if once_per_job(done):
            print(done)
