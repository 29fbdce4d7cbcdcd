"""The command `shortcut train`."""

from dataclasses import dataclass
from pathlib import Path

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

    def __call__(self) -> None:
        run = self.run or Path("runs") / self.name
        train_recipe(self.name, self.recipe, run, self.teacher, init_from=self.init_from)
        acts = isinstance(self.recipe.task, Imitation)
        word = quote(run)
        next_one = f"rollout {word} --steps 1 4" if acts else f"sample {word} --steps 1 4 --out samples.npz"
        done = f"{run} is trained: try `shortcut {next_one}` or `shortcut evaluate {word}`"
        if once_per_job(done):
            print(done)
