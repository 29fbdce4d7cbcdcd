"""Progressive distillation (Salimans and Ho 2022), on the straight path: two steps of the teacher become one.

Training has log2(max_steps) stages. In each, the student learns to do in one step what its teacher does in two; then
it becomes the teacher of the next, whose steps are twice as large. At the end it has learned whole steps alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import annotated_types as at
import torch

from ..base import Batch, Cond, Losses, Network, Objective, X
from ..config import PowerOfTwo, Share
from ..path import interpolate, levels_of, stage_of, step
from ..sampling import euler, guided, last
from ._shared import Draws, Weight, draw_on_grid, even_times, squared_error


@dataclass(frozen=True)
class ProgressiveDistillation(Objective):
    """Halve the number of steps that a trained flow model needs, until it is one."""

    learns_from: ClassVar[Literal["data", "source", "pairs"]] = "source"
    scheduled: ClassVar[bool] = True

    max_steps: PowerOfTwo = 128
    """steps of the first teacher"""
    label_dropout: Share = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    guidance: Weight = 1.0
    """guidance weight of the first teacher, which later stages inherit; 1 is none"""
    told: Share = 0.0
    """the step size that the network is told, always the same"""
    sigma_min: Share = 0.0
    """share of the noise that is left in the data's end of the path"""
    clip: Annotated[float, at.Gt(0)] | None = None
    """bound on the coordinates of the mid-point and of the target; none leaves them as they are"""

    @classmethod
    def original(cls, **changes: Any) -> ProgressiveDistillation:
        """As the paper's authors have it."""
        return replace(cls(told=1.0, sigma_min=1e-5, clip=4.0), **changes)

    @property
    def evaluations(self) -> float:
        twice = 0 if self.guidance in (0, 1) else 1 / self.stages
        return 3.0 + 2 * (1 + twice)

    @property
    def stages(self) -> int:
        return max(levels_of(self.max_steps), 1)

    def level(self, progress: float) -> int:
        """The level of the steps learned at this share of the way: one below the finest first, 0 last."""
        return max(levels_of(self.max_steps) - 1 - stage_of(progress, self.stages), 0)

    def draw(self, batch: Batch) -> Draws:
        """Noise, times on the grid of the stage, and the rows that lose their condition."""
        return draw_on_grid(batch, self.level(batch.progress), self.label_dropout)

    @torch.no_grad()
    def targets(self, source: Network, batch: Batch, draws: Draws) -> tuple[X, X]:
        """(x_t, target) for every row; nothing in here is random."""
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        half = torch.full_like(draws.t, 2.0 ** -(self.level(batch.progress) + 1))
        told = torch.full_like(draws.t, self.told)
        weight = self.guidance if stage_of(batch.progress, self.stages) == 0 else 1.0
        average_velocity = guided(source, batch.cond, weight, len(batch), x.device, draws.drop)
        bound = lambda x: x if self.clip is None else x.clamp(-self.clip, self.clip)
        first = average_velocity(x, draws.t, told)
        second = average_velocity(bound(step(x, half, first)), draws.t + half, told)
        return x, bound((first + second) / 2)

    def losses(  # type: ignore[override]  # see `learns_from`
        self, net: Network, teacher: Network, batch: Batch, source: Network
    ) -> Losses:
        draws = self.draw(batch)
        x, target = self.targets(source, batch, draws)
        told = torch.full_like(draws.t, self.told)
        loss = squared_error(net(x, draws.t, told, net.encode(batch.cond, draws.drop)), target)
        return Losses(loss, {"distillation": loss.detach()})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        times = even_times(steps, self.max_steps)
        return last(euler(net, noise, cond, times, told=self.told, guidance=guidance))
