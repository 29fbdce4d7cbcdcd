"""Flow matching (Lipman et al. 2023): regress the velocity of the straight path; the network's d is always 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..base import Batch, Cond, Losses, Network, Objective, X
from ..config import PowerOfTwo, Share
from ..pairing import Pairing, paired_noise
from ..path import interpolate, velocity
from ..sampling import euler, last
from ._shared import check_budget, drop_rows, squared_error


@dataclass(frozen=True)
class FlowMatching(Objective):
    """Learn the instantaneous velocity; generate by integrating it."""

    uses_teacher: ClassVar[bool] = False

    max_steps: PowerOfTwo = 128
    """the largest number of sampling steps offered"""
    label_dropout: Share = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    pairing: Pairing = "independent"
    """noise goes with data independently, or by optimal transport among a batch's rows of one label"""

    def losses(self, net: Network, teacher: Network, batch: Batch) -> Losses:
        data = batch.data
        noise, t = paired_noise(batch, self.pairing), torch.rand(len(batch), device=data.device)
        context = net.encode(batch.cond, drop_rows(len(batch), self.label_dropout, data.device))
        v = net(interpolate(noise, data, t), t, torch.zeros_like(t), context)
        loss = squared_error(v, velocity(noise, data))
        return Losses(loss, {"flow": loss.detach()})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        check_budget(steps, self.max_steps)
        times = [i / steps for i in range(steps + 1)]
        return last(euler(net, noise, cond, times, told=0.0, guidance=guidance))
