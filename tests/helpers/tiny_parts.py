"""Parts from outside the package, small enough that what training does to them can be worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from shortcut_models.base import Batch, Losses, Network, Objective, Task
from shortcut_models.data.arrays import ArrayDataset
from shortcut_models.models.model import Model
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training

TRAINING = Training(
    train_steps=12, batch_size=8, learning_rate=0.05, warmup=4, precision="fp32", device="cpu", side_share=1.0
)  # fmt: skip


class Scale(Network):
    """v = w * x + c: two numbers to learn, and nothing that could hide a mistake."""

    def __init__(self, w: float = 0.3) -> None:
        super().__init__()
        self.w, self.c = nn.Parameter(torch.tensor([w, -w])), nn.Parameter(torch.tensor(0.1))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        return self.w * x + self.c


@dataclass(frozen=True)
class Regress(Objective):
    """Learn to double the data: without noise, so that any split of a batch gives the same gradient."""

    uses_target_net: ClassVar[bool] = False
    max_steps: int = 4
    before: Callable[[Network, Tensor], Tensor] = lambda net, loss: loss
    """called with each training batch's network and loss; what it returns is the loss"""

    def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        zeros = torch.zeros(len(batch))
        loss = (net(batch.data, zeros, zeros) - 2 * batch.data).square().mean(1)
        return Losses(self.before(net, loss) if torch.is_grad_enabled() else loss, {"flow": loss.detach()})

    def sample(self, net: Network, noise: Any, cond: Any, steps: int, *, guidance: float = 1.0) -> Any:
        with torch.no_grad():
            return net(noise, torch.zeros(len(noise)), torch.zeros(len(noise)))


@dataclass(frozen=True)
class Line(Task):
    """A task from outside the package: 48 points, of which the last 8 are held out."""

    points: Any = field(default_factory=lambda: torch.linspace(-1, 1, 96).reshape(48, 2))

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def dataset(self, split: str) -> ArrayDataset:
        return ArrayDataset(self.points[:40] if split == "train" else self.points[40:], {})

    def encode(self, raw: Tensor) -> Any:
        return raw

    def decode(self, x: Any) -> np.ndarray:
        return x.numpy()

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return {"mean": float(samples.mean())}

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        return Image.new("RGB", (8, 8))


def at(steps: set[int], act: Callable[[Network, Tensor], Tensor]) -> Callable[[Network, Tensor], Tensor]:
    """`act` at these steps (1 is the first) of a run that is not accumulated, and nothing at the others."""
    count = iter(range(1, 10**6))
    return lambda net, loss: act(net, loss) if next(count) in steps else loss


def nan_loss(net: Network, loss: Tensor) -> Tensor:
    return loss * math.nan


def infinite_gradient(net: Network, loss: Tensor) -> Tensor:
    """A finite loss whose gradient is not: the root has no slope at 0."""
    return loss.detach() + (loss - loss.detach()).sqrt()


def train(
    run: Path, objective: Objective | None = None, task: Task | None = None, *, teacher: Model | None = None,
    quiet: bool = True, **options: Any,
) -> Model:  # fmt: skip
    training = replace(TRAINING, **options)
    return fit(
        Scale(), objective or Regress(), task or Line(), run=run, training=training, teacher=teacher, quiet=quiet
    )


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
