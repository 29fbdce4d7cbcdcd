"""Flow matching (Lipman et al. 2023): regress the velocity of the straight path; the network's d never changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from ..base import Batch, Cond, Losses, Network, Objective, X
from ..config import Fraction, PowerOfTwo
from ..path import interpolate, velocity
from ..sampling import euler, last
from ._shared import Draws, drop_rows, even_times, squared_error
from .pairing import Pairing, paired_noise


@dataclass(frozen=True)
class FlowMatching(Objective):
    """Learn the instantaneous velocity; generate by integrating it."""

    uses_target_net: ClassVar[bool] = False
    learns_velocity: ClassVar[bool] = True

    max_steps: PowerOfTwo = 128
    """the largest number of sampling steps offered"""
    label_dropout: Fraction = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    pairing: Pairing = "independent"
    """noise goes with data independently, or by optimal transport among a batch's rows of one label"""
    conditioned_step_size: Fraction = 0.0
    """the step size that the network is conditioned on, always the same"""
    sigma_min: Fraction = 0.0
    """share of the noise that is left in the data's end of the path"""

    @classmethod
    def original(cls, **changes: Any) -> FlowMatching:
        """Return the method as the paper's authors have it."""
        return replace(cls(conditioned_step_size=1.0, sigma_min=1e-5), **changes)

    def draw(self, batch: Batch) -> Draws:
        """Draw noise, times, and the rows that lose their condition."""
        t = torch.rand(len(batch), device=batch.data.device)
        return Draws(paired_noise(batch, self.pairing), t, drop_rows(batch, self.label_dropout))

    def targets(self, batch: Batch, draws: Draws) -> tuple[X, X]:
        """Return (x_t, target) of every row; nothing in here is random."""
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        return x, velocity(draws.noise, batch.data, self.sigma_min)

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        draws = self.draw(batch)
        x, target = self.targets(batch, draws)
        context = net.encode(batch.cond, draws.drop)
        loss = squared_error(net(x, draws.t, torch.full_like(draws.t, self.conditioned_step_size), context), target)
        return Losses(loss, {"flow": loss.detach()})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        times = even_times(steps, self.max_steps)
        return last(euler(net, noise, cond, times, step_cond=self.conditioned_step_size, guidance=guidance))
