"""A network of your own: train it, save it, load it. Nothing has to be registered."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping

from torch import Tensor, nn

import shortcut_models as sm
from shortcut_models.base import Cond, Condition, T, X
from shortcut_models.networks.layers import ConditionEmbedding, TimeStepEmbedding, modulate
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import Digits


class ConvNet(sm.Network):
    """Convolutions at half resolution; time, step size and label shift and scale the channels of each."""

    def __init__(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        width, depth = 48, 6
        self.embed = TimeStepEmbedding(width)
        self.conditions = ConditionEmbedding(conditions, width)
        self.proj_in = nn.Conv2d(shape[0], width, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(8, width, affine=False)
        self.modulations = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.proj_out = nn.ConvTranspose2d(width, shape[0], 4, stride=2, padding=1)
        self.activation = nn.SiLU()

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Tensor | None:
        return self.conditions(cond, drop)

    def forward(self, x: X, t: T, d: T, context: Tensor | None = None) -> X:
        c = self.activation(self.embed(t, d) if context is None else self.embed(t, d) + context)
        h = self.proj_in(x)
        for modulation, convolution in zip(self.modulations, self.convolutions, strict=True):
            shift, scale = modulation(c)[:, :, None, None].chunk(2, 1)
            h = h + convolution(self.activation(modulate(self.norm(h), shift, scale)))
        return self.proj_out(self.activation(h))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default=tempfile.mkdtemp(), help="the run's directory (default: a temporary one)")
    parser.add_argument("--train-steps", type=int, default=400, help="optimiser steps; more is better")
    args, task = parser.parse_args(), Digits()
    training = sm.Training(train_steps=args.train_steps, batch_size=64, learning_rate=1e-2, weight_decay=0.0, warmup=50)
    sm.fit(ConvNet(task.shape, task.conditions), Shortcut(), task, run=args.run, training=training)

    model = sm.load(args.run, network=ConvNet(task.shape, task.conditions))
    for steps, measures in sm.evaluate(model, [1, 8], num=200, quiet=True)["steps"].items():
        print(f"{steps} steps: an SVM sees the digit asked for in {measures['accuracy']:.1%} of 200 samples")


if __name__ == "__main__":
    main()
