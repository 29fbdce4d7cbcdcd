"""Consistency models (Song et al. 2023) on the straight path, as distillation and as training from data alone.

The network's velocity says where a point's path ends: data = x + (1 - t) velocity. A consistency model is taught to say
the same at neighbouring points of one path. Distillation finds the neighbour with a trained flow model, training takes
the next point of the line between noise and data, at a distance that shrinks in the course of training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from ..base import Batch, Cond, Losses, Network, Objective, Requires, T, X
from ..config import Fraction, PowerOfTwo
from ..path import broadcast, interpolate, levels_of, stage_of, step
from ..sampling import guided, last, renoise
from ._shared import Draws, Weight, draw_on_grid, even_times, required, squared_error


def consistency_target(target_net: Network, x: X, t: T, neighbour: X, d: T, step_cond: float, context: Any) -> X:
    """Return the velocity from x at t to where the target_net ends the path through the neighbour at t + d."""
    end = t + d
    data = step(neighbour, 1 - end, target_net(neighbour, end, torch.full_like(t, step_cond), context))
    return (data - x) / broadcast(1 - t, x)


@dataclass(frozen=True)
class ConsistencyDistillation(Objective):
    """Agree with oneself, after one small step of a trained flow model."""

    requires: ClassVar[Requires] = "teacher"

    max_steps: PowerOfTwo = 128
    """the trained model takes steps of 1 / max_steps; also the largest number of sampling steps"""
    label_dropout: Fraction = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    guidance: Weight = 1.0
    """guidance weight of the trained model's step; 1 is none"""
    conditioned_step_size: Fraction = 0.0
    """the step size that the network is conditioned on, always the same"""
    sigma_min: Fraction = 0.0
    """share of the noise that is left in the data's end of the path"""

    @classmethod
    def original(cls, **changes: Any) -> ConsistencyDistillation:
        """Return the method as the paper's authors have it."""
        return replace(cls(conditioned_step_size=1.0, sigma_min=1e-5), **changes)

    @property
    def nfe_per_example(self) -> float:
        return 4.0 + (1 if self.guidance in (0, 1) else 2)

    def draw(self, batch: Batch) -> Draws:
        """Draw noise, times on the finest grid, and the rows that lose their condition."""
        return draw_on_grid(batch, levels_of(self.max_steps), self.label_dropout)

    @torch.no_grad()
    def targets(self, target_net: Network, teacher: Network, batch: Batch, draws: Draws) -> tuple[X, X]:
        """Return (x_t, target) of every row; nothing in here is random."""
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        d, step_cond = (
            torch.full_like(draws.t, 1 / self.max_steps),
            torch.full_like(draws.t, self.conditioned_step_size),
        )
        velocity = guided(teacher, batch.cond, self.guidance, len(batch), x.device, draws.drop)
        neighbour = step(x, d, velocity(x, draws.t, step_cond))
        context = target_net.encode(batch.cond, draws.drop)
        return x, consistency_target(target_net, x, draws.t, neighbour, d, self.conditioned_step_size, context)

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        draws = self.draw(batch)
        x, target = self.targets(target_net, required(teacher), batch, draws)
        step_cond = torch.full_like(draws.t, self.conditioned_step_size)
        loss = squared_error(net(x, draws.t, step_cond, net.encode(batch.cond, draws.drop)), target)
        return Losses(loss, {"consistency": loss.detach()})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        times = even_times(steps, self.max_steps)
        return last(renoise(net, noise, cond, times, step_cond=self.conditioned_step_size, guidance=guidance))


@dataclass(frozen=True)
class ConsistencyTraining(Objective):
    """Agree with oneself at the next point between a noise and its data, which comes nearer during training."""

    has_schedule: ClassVar[bool] = True

    max_steps: PowerOfTwo = 128
    """the next point is 1, 1/2, ..., at last 2 / max_steps away; also the largest number of sampling steps"""
    label_dropout: Fraction = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    conditioned_step_size: Fraction = 0.0
    """the step size that the network is conditioned on, always the same"""
    sigma_min: Fraction = 0.0
    """share of the noise that is left in the data's end of the path"""

    @classmethod
    def original(cls, **changes: Any) -> ConsistencyTraining:
        """Return the method as the paper's authors have it."""
        return replace(cls(conditioned_step_size=1.0, sigma_min=1e-5), **changes)

    @property
    def nfe_per_example(self) -> float:
        return 4.0

    def level(self, progress: float) -> int:
        """Return the level of the distance between neighbours, 2^-level, at this share of the way."""
        return stage_of(progress, max(levels_of(self.max_steps), 1))

    def draw(self, batch: Batch, level: int) -> Draws:
        """Draw noise, times on the grid of the distance 2^-level, and the rows that lose their condition."""
        return draw_on_grid(batch, level, self.label_dropout)

    @torch.no_grad()
    def targets(self, target_net: Network, batch: Batch, draws: Draws, level: int) -> tuple[X, X]:
        """Return (x_t, target) of every row; nothing in here is random."""
        d = torch.full_like(draws.t, 2.0**-level)
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        neighbour = interpolate(draws.noise, batch.data, draws.t + d, self.sigma_min)
        context = target_net.encode(batch.cond, draws.drop)
        return x, consistency_target(target_net, x, draws.t, neighbour, d, self.conditioned_step_size, context)

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        level = self.level(progress)
        draws = self.draw(batch, level)
        x, target = self.targets(target_net, batch, draws, level)
        step_cond = torch.full_like(draws.t, self.conditioned_step_size)
        loss = squared_error(net(x, draws.t, step_cond, net.encode(batch.cond, draws.drop)), target)
        return Losses(loss, {"consistency": loss.detach()})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        times = even_times(steps, self.max_steps)
        return last(renoise(net, noise, cond, times, step_cond=self.conditioned_step_size, guidance=guidance))
