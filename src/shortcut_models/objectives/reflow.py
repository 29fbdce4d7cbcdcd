"""Reflow (Liu et al. 2023): flow matching once more, between noises and what a trained model made of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ..base import Batch, Cond, Losses, Network, X
from ._shared import FromPairs
from .flow import FlowMatching


@dataclass(frozen=True)
class Reflow(FromPairs):
    """Learn the straight lines between noises and a trained model's samples: paths that hardly bend."""

    learns_velocity: ClassVar[bool] = True
    conditioned_step_size = 0.0

    def _flow(self) -> FlowMatching:
        return FlowMatching(max_steps=self.max_steps, label_dropout=self.label_dropout)

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        return self._flow().losses(net, target_net, batch)

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        return self._flow().trajectory(net, noise, cond, steps, guidance=guidance)
