"""Flow matching (Lipman et al. 2023): regress the velocity of the straight path; the network's d never changes."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..base import Batch, Losses, Network, X
from ..path import interpolate, velocity
from ._shared import Draws, OneStepSize, drop_rows
from .pairing import Pairing, paired_noise


@dataclass(frozen=True)
class FlowMatching(OneStepSize):
    """Learn the instantaneous velocity; generate by integrating it."""

    uses_target_net: ClassVar[bool] = False
    learns_velocity: ClassVar[bool] = True

    pairing: Pairing = "independent"
    """noise goes with data independently, or by optimal transport among a batch's rows of one label"""

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
        return self.regress("flow", net, batch, draws, x, target)
