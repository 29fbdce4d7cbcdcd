"""Live reflow (Frans et al. 2024, section 5): one network, trained at once on data and on its own samples.

Flow rows learn the velocity of the data, with step size 1 / max_steps. Reflow rows learn the straight line between a
noise and what the network itself makes of that noise in a few steps, with step size 1. The switch from the one to the
other is the step size: the "self-distilled flow" of the authors' blog.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import annotated_types as at
import torch

from ..base import Batch, Cond, Losses, Network, Objective, T, X
from ..config import Fraction, PowerOfTwo
from ..path import interpolate, levels_of, velocity
from ..sampling import euler, last
from ._shared import Draws, Weight, draw_on_grid, even_times, squared_error


@dataclass(frozen=True)
class LiveReflow(Objective):
    """Flow matching and, on a share of the rows, reflow with samples that the network makes while it learns."""

    max_steps: PowerOfTwo = 128
    """M: in this many steps the network samples what it learned from data; below, what it learned from itself"""
    bootstrap_fraction: Fraction = 0.125
    """share of the rows trained on the network's own samples"""
    self_steps: Annotated[int, at.Ge(1), at.Le(1024)] = 8
    """Euler steps that make such a sample: each costs as much as a third of a flow row"""
    label_dropout: Fraction = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    guidance: Weight = 1.0
    """guidance weight of the network's own samples; 1 is none"""
    sigma_min: Fraction = 0.0
    """share of the noise that is left in the data's end of the path"""

    @classmethod
    def original(cls, **changes: Any) -> "LiveReflow":
        """Return the method as the paper's authors have it; there, the network itself makes the samples."""
        return replace(cls(sigma_min=1e-5), **changes)

    @property
    def velocity_step_size(self) -> float:
        return 1 / self.max_steps

    @property
    def nfe_per_example(self) -> float:
        return 3 + self.bootstrap_fraction * self.self_steps * (1 if self.guidance in (0, 1) else 2)

    def draw(self, batch: Batch) -> Draws:
        """Draw noise, times on the finest grid, and the rows that lose their condition."""
        return draw_on_grid(batch, levels_of(self.max_steps), self.label_dropout)

    def num_self_rows(self, rows: int) -> int:
        """Return how many rows learn from the network's own samples: the fraction, rounded at random."""
        return int(self.bootstrap_fraction * rows + torch.rand(()).item())

    def targets(self, target_net: Network, batch: Batch, draws: Draws, num_self_rows: int) -> tuple[X, X, T]:
        """Return (x_t, target, step size) of every row, own samples first; nothing in here is random."""
        data, step_cond = batch.data, torch.full_like(draws.t, 1 / self.max_steps)
        if num_self_rows:
            rows = slice(num_self_rows)
            made = last(
                euler(
                    target_net, draws.noise[rows], batch[rows].cond, even_times(self.self_steps, self.self_steps),
                    step_cond=1 / self.max_steps, guidance=self.guidance, drop=draws.drop[rows],
                )
            )  # fmt: skip
            data = torch.cat([made.to(data.dtype), data[num_self_rows:]])
            step_cond[:num_self_rows] = 1.0
        x = interpolate(draws.noise, data, draws.t, self.sigma_min)
        return x, velocity(draws.noise, data, self.sigma_min), step_cond

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        draws, num_self_rows = self.draw(batch), self.num_self_rows(len(batch))
        x, target, step_cond = self.targets(target_net, batch, draws, num_self_rows)
        loss = squared_error(net(x, draws.t, step_cond, net.encode(batch.cond, draws.drop)), target)
        seen = loss.detach()
        return Losses(loss, {"flow": seen[num_self_rows:], "own": seen[:num_self_rows]})

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        times = even_times(steps, self.max_steps)
        step_cond = 1 / steps if steps == self.max_steps else 1.0
        return euler(net, noise, cond, times, step_cond=step_cond, guidance=guidance)
