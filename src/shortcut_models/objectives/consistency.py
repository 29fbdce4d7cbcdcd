"""Consistency models (Song et al. 2023) on the straight path, as distillation and as training from data alone.

The network's velocity says where a point's path ends: data = x + (1 - t) velocity. A consistency model is trained to
predict the same at neighbouring points of one path. Distillation finds the neighbour with a trained flow model,
training takes the next point of the line between noise and data, at a distance that shrinks during training.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..base import Batch, Cond, Network, Requires, T, X
from ..config import PowerOfTwo
from ..path import broadcast, interpolate, levels_of, stage_of, step
from ..sampling import guided, renoise
from ._shared import Draws, NetworkTargets, Weight, even_times, required


class _Consistency(NetworkTargets):
    """What both share: where their targets point, and how they sample."""

    loss_name = "consistency"

    def _target(self, target_net: Network, batch: Batch, draws: Draws, x: X, neighbour: X, d: T) -> X:
        """Return the velocity from x at t to where the target_net ends the path through the neighbour at t + d."""
        context = target_net.encode(batch.cond, draws.drop)
        end, step_cond = draws.t + d, torch.full_like(draws.t, self.conditioned_step_size)
        data = step(neighbour, 1 - end, target_net(neighbour, end, step_cond, context))
        return (data - x) / broadcast(1 - draws.t, x)

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        times = even_times(steps, self.max_steps)
        return renoise(net, noise, cond, times, step_cond=self.conditioned_step_size, guidance=guidance)


@dataclass(frozen=True)
class ConsistencyDistillation(_Consistency):
    """Match the target network's prediction after one small step of a trained flow model."""

    requires: ClassVar[Requires] = "teacher"

    max_steps: PowerOfTwo = 128
    """the trained model takes steps of 1 / max_steps; also the largest number of sampling steps"""
    guidance: Weight = 1.0
    """guidance weight of the trained model's step; 1 is none"""

    @property
    def nfe_per_example(self) -> float:
        return 4.0 + (1 if self.guidance in (0, 1) else 2)

    @torch.no_grad()
    def targets(
        self, target_net: Network, teacher: Network | None, batch: Batch, draws: Draws, level: int
    ) -> tuple[X, X]:
        """Return (x_t, target): where the path ends of the point that one step of the teacher, of size d, reaches."""
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        d = torch.full_like(draws.t, 1 / self.max_steps)
        step_cond = torch.full_like(draws.t, self.conditioned_step_size)
        velocity = guided(required(teacher), batch.cond, self.guidance, len(batch), x.device, draws.drop)
        neighbour = step(x, d, velocity(x, draws.t, step_cond))
        return x, self._target(target_net, batch, draws, x, neighbour, d)


@dataclass(frozen=True)
class ConsistencyTraining(_Consistency):
    """Match the target network at the next point of the line from noise to data, which comes nearer during training."""

    has_schedule: ClassVar[bool] = True

    max_steps: PowerOfTwo = 128
    """the next point is 1, 1/2, ..., at last 2 / max_steps away; also the largest number of sampling steps"""

    nfe_per_example = 4.0

    def level(self, progress: float) -> int:
        """Return the level of the distance between neighbours, 2^-level, at this share of the way."""
        return stage_of(progress, max(levels_of(self.max_steps), 1))

    @torch.no_grad()
    def targets(
        self, target_net: Network, teacher: Network | None, batch: Batch, draws: Draws, level: int
    ) -> tuple[X, X]:
        """Return (x_t, target): where the path ends of the next point between noise and data, 2^-level away."""
        d = torch.full_like(draws.t, 2.0**-level)
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        neighbour = interpolate(draws.noise, batch.data, draws.t + d, self.sigma_min)
        return x, self._target(target_net, batch, draws, x, neighbour, d)
