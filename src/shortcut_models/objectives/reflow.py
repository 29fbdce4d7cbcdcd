"""Reflow (Liu et al. 2023): flow matching once more, between noises and what a trained model made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..base import Batch, Cond, Losses, Network, Objective, X
from ..config import Fraction, PositiveInt, PowerOfTwo
from ._shared import Weight
from .flow import FlowMatching


@dataclass(frozen=True)
class Reflow(Objective):
    """Learn the straight lines between noises and a trained model's samples: paths that hardly bend."""

    uses_target_net: ClassVar[bool] = False
    requires: ClassVar[Literal["data", "teacher", "pairs"]] = "pairs"

    max_steps: PowerOfTwo = 128
    """the largest number of sampling steps offered"""
    label_dropout: Fraction = 0.1
    """share of pairs made and learned without their condition, so that guidance can be chosen when sampling"""
    pairs: PositiveInt = 50_000
    """number of noises whose samples are learned from, written to the run's directory"""
    pair_steps: PositiveInt = 128
    """sampling steps of the trained model, for each of them"""
    pair_guidance: Weight = 1.0
    """guidance weight of the trained model; 1 is none"""

    def _flow(self) -> FlowMatching:
        return FlowMatching(max_steps=self.max_steps, label_dropout=self.label_dropout)

    def losses(self, net: Network, target_net: Network, batch: Batch) -> Losses:
        return self._flow().losses(net, target_net, batch)

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        return self._flow().sample(net, noise, cond, steps, guidance=guidance)
