"""Progressive distillation (Salimans and Ho 2022), on the straight path: two steps of the teacher become one.

Training has log2(max_steps) stages. In each, the student learns to do in one step what its teacher does in two; then
it becomes the teacher of the next, whose steps are twice as large. At the end it has learned whole steps alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import annotated_types as at
import torch

from ..base import Batch, Cond, Losses, Network, Objective, Requires, X
from ..config import Fraction, PowerOfTwo
from ..path import interpolate, levels_of, stage_of, step
from ..sampling import euler, guided, last
from ._shared import Draws, Weight, draw_on_grid, even_times, required, squared_error


@dataclass(frozen=True)
class ProgressiveDistillation(Objective):
    """Halve the number of steps that a trained flow model needs, until it is one."""

    requires: ClassVar[Requires] = "teacher"
    has_schedule: ClassVar[bool] = True

    max_steps: PowerOfTwo = 128
    """steps of the first teacher"""
    label_dropout: Fraction = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    guidance: Weight = 1.0
    """guidance weight of the first teacher, which later stages inherit; 1 is none"""
    conditioned_step_size: Fraction = 0.0
    """the step size that the network is conditioned on, always the same"""
    sigma_min: Fraction = 0.0
    """share of the noise that is left in the data's end of the path"""
    clip: Annotated[float, at.Gt(0)] | None = None
    """bound on the coordinates of the mid-point and of the target; none leaves them as they are"""

    @classmethod
    def original(cls, **changes: Any) -> ProgressiveDistillation:
        """Return the method as the paper's authors have it."""
        return replace(cls(conditioned_step_size=1.0, sigma_min=1e-5, clip=4.0), **changes)

    @property
    def nfe_per_example(self) -> float:
        twice = 0 if self.guidance in (0, 1) else 1 / self.stages
        return 3.0 + 2 * (1 + twice)

    @property
    def stages(self) -> int:
        return max(levels_of(self.max_steps), 1)

    def level(self, progress: float) -> int:
        """Return the level of the steps learned at this share of the way: one below the finest first, 0 last."""
        return max(levels_of(self.max_steps) - 1 - stage_of(progress, self.stages), 0)

    def draw(self, batch: Batch, level: int) -> Draws:
        """Draw noise, times on the grid of the stage, and the rows that lose their condition."""
        return draw_on_grid(batch, level, self.label_dropout)

    @torch.no_grad()
    def targets(self, teacher: Network, batch: Batch, draws: Draws, level: int) -> tuple[X, X]:
        """Return (x_t, target) of every row; nothing in here is random."""
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        half = torch.full_like(draws.t, 2.0 ** -(level + 1))
        step_cond = torch.full_like(draws.t, self.conditioned_step_size)
        weight = self.guidance if level == self.level(0.0) else 1.0  # of the first stage alone
        average_velocity = guided(teacher, batch.cond, weight, len(batch), x.device, draws.drop)
        bound = lambda x: x if self.clip is None else x.clamp(-self.clip, self.clip)
        first = average_velocity(x, draws.t, step_cond)
        second = average_velocity(bound(step(x, half, first)), draws.t + half, step_cond)
        return x, bound((first + second) / 2)

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        level = self.level(progress)
        draws = self.draw(batch, level)
        x, target = self.targets(required(teacher), batch, draws, level)
        step_cond = torch.full_like(draws.t, self.conditioned_step_size)
        loss = squared_error(net(x, draws.t, step_cond, net.encode(batch.cond, draws.drop)), target)
        return Losses(loss, {"distillation": loss.detach()})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        times = even_times(steps, self.max_steps)
        return last(euler(net, noise, cond, times, step_cond=self.conditioned_step_size, guidance=guidance))
