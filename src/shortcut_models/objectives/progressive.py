"""Progressive distillation (Salimans and Ho 2022), on the straight path: two steps of the teacher become one.

Training has log2(max_steps) stages. In each, the student learns to do in one step what its teacher does in two; then
it becomes the teacher of the next, whose steps are twice as large. At the end it has learned whole steps alone.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import annotated_types as at
import torch

from ..base import Batch, Network, Requires, X
from ..config import PowerOfTwo
from ..path import interpolate, levels_of, stage_of, step
from ..sampling import guided
from ._shared import Draws, NetworkTargets, Weight, required


@dataclass(frozen=True)
class ProgressiveDistillation(NetworkTargets):
    """Halve the number of steps that a trained flow model needs, until it is one."""

    requires: ClassVar[Requires] = "teacher"
    has_schedule: ClassVar[bool] = True
    loss_name = "distillation"

    max_steps: PowerOfTwo = 128
    """steps of the first teacher"""
    guidance: Weight = 1.0
    """guidance weight of the first teacher, which later stages inherit; 1 is none"""
    clip: Annotated[float, at.Gt(0)] | None = None
    """bound on the coordinates of the mid-point and of the target; none leaves them as they are"""

    @classmethod
    def original(cls, **changes: Any) -> "ProgressiveDistillation":
        return replace(super().original(clip=4.0), **changes)

    @property
    def nfe_per_example(self) -> float:
        return 5.0 + (0 if self.guidance in (0, 1) else 2 / self.stages)

    @property
    def stages(self) -> int:
        return max(levels_of(self.max_steps), 1)

    def level(self, progress: float) -> int:
        """Return the level of the steps learned at this share of the way: one below the finest first, 0 last."""
        return max(levels_of(self.max_steps) - 1 - stage_of(progress, self.stages), 0)

    @torch.no_grad()
    def targets(
        self, target_net: Network, teacher: Network | None, batch: Batch, draws: Draws, level: int
    ) -> tuple[X, X]:
        """Return (x_t, target): the average velocity of two steps of the teacher, each of size 2^-(level + 1)."""
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        half = torch.full_like(draws.t, 2.0 ** -(level + 1))
        step_cond = torch.full_like(draws.t, self.conditioned_step_size)
        weight = self.guidance if level == self.level(0.0) else 1.0  # of the first stage alone
        average_velocity = guided(required(teacher), batch.cond, weight, len(batch), x.device, draws.drop)
        bound = lambda x: x if self.clip is None else x.clamp(-self.clip, self.clip)
        first = average_velocity(x, draws.t, step_cond)
        second = average_velocity(bound(step(x, half, first)), draws.t + half, step_cond)
        return x, bound((first + second) / 2)
