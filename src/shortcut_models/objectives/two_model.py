"""Two-model distillation (Luhman and Luhman 2021): a second network learns by heart what the first makes of a noise.

The authors' blog begins with it. The second network answers in one step and has no other: it can be no better than
the regression, and one trains twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ..base import Batch, Cond, Losses, Network, Objective, X
from ..config import Fraction, PositiveInt, PowerOfTwo
from ..path import check_num_steps, velocity
from ..sampling import euler, last
from ._shared import Weight, drop_rows, squared_error
from .pairing import paired_noise


@dataclass(frozen=True)
class TwoModel(Objective):
    """Regress a trained model's sample from its noise, in one step."""

    uses_target_net: ClassVar[bool] = False
    requires: ClassVar[Literal["data", "teacher", "pairs"]] = "pairs"

    max_steps: PowerOfTwo = 128
    """the largest number of sampling steps that may be asked for; one is taken, whatever it is"""
    label_dropout: Fraction = 0.1
    """share of pairs made and learned without their condition, so that guidance can be chosen when sampling"""
    pairs: PositiveInt = 50_000
    """number of noises whose samples are learned from, written to the run's directory"""
    pair_steps: PositiveInt = 128
    """sampling steps of the trained model, for each of them"""
    pair_guidance: Weight = 1.0
    """guidance weight of the trained model; 1 is none"""

    def losses(self, net: Network, target_net: Network, batch: Batch) -> Losses:
        noise = paired_noise(batch, "independent")
        drop = drop_rows(batch, self.label_dropout)
        start = torch.zeros(len(batch), device=noise.device)
        v = net(noise, start, torch.ones_like(start), net.encode(batch.cond, drop))
        loss = squared_error(v, velocity(noise, batch.data))
        return Losses(loss, {"regression": loss.detach()})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        check_num_steps(steps, self.max_steps)
        return last(euler(net, noise, cond, [0.0, 1.0], guidance=guidance))
