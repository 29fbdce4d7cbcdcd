"""A method of your own in one file, and the line that puts it on the command line.

SplitMeanFlow (Guo et al. 2025, arXiv 2507.16884): a shortcut model whose intervals can be split anywhere.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from shortcut_models.base import Batch, Cond, Losses, Network, Objective, X
from shortcut_models.cli import main
from shortcut_models.config import Fraction, PositiveInt
from shortcut_models.objectives import OBJECTIVES
from shortcut_models.path import broadcast, interpolate, sampling_times, step, velocity
from shortcut_models.sampling import euler


@dataclass(frozen=True)
class SplitMeanFlow(Objective):
    """The average velocity over [t, t + d] is the mean of those over its two parts, weighted by their lengths."""

    max_steps: PositiveInt = 128
    """the largest number of sampling steps offered"""
    split_share: Fraction = 0.5
    """share of the rows whose target comes from the target_net; the others learn the velocity, at d = 0, from data"""
    nfe_per_example = property(lambda self: 3 + 2 * self.split_share)

    def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        data, n = batch.data, int(self.split_share * len(batch))
        noise, (a, b, part) = torch.randn_like(data), torch.rand(3, len(batch), device=data.device)
        t, d = torch.minimum(a, b), (a - b).abs()
        t[n:], d[n:] = a[n:], 0.0
        x, target = interpolate(noise, data, t), velocity(noise, data)
        with torch.no_grad():
            context, first = target_net.encode(batch[:n].cond), part[:n] * d[:n]
            v = target_net(x[:n], t[:n], first, context)
            w = target_net(step(x[:n], first, v), t[:n] + first, d[:n] - first, context)
            target[:n] = torch.lerp(w, v, broadcast(part[:n], v))
        loss = (net(x, t, d, net.encode(batch.cond)) - target).square().flatten(1).mean(1)
        return Losses(loss, {"split": loss[:n].detach(), "flow": loss[n:].detach()})

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        return euler(net, noise, cond, sampling_times(steps, self.max_steps), guidance=guidance)


OBJECTIVES["split"] = SplitMeanFlow

if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(main())
    short = ["--train-steps", "500", "--batch-size", "256", "--network.width", "128", "--snapshots", "0"]
    main(["train", "four-gaussians", "--objective", "split", "--run", run := tempfile.mkdtemp(), *short])
    main(["evaluate", run, "--steps", "1", "2", "4", "--num", "250"])
