"""Behaviour cloning (Pomerleau 1989): regress the data on its conditions, an action on an observation, in one pass.

No noise goes in, so the answer to a condition is one: the mean of all that the data has for it. Where a demonstrator
passes an obstacle on the left or on the right, that is straight ahead. It is what generative policies are measured
against, and no generative model itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..base import Batch, Cond, Losses, Network, X
from ..config import PowerOfTwo
from ..path import check_num_steps
from ..sampling import euler
from ._shared import CommonOptions, drop_rows, regress_in_one_step


@dataclass(frozen=True)
class BehaviourCloning(CommonOptions):
    """Regress the data on its conditions, without any noise."""

    uses_target_net: ClassVar[bool] = False
    is_generative: ClassVar[bool] = False
    conditioned_step_size = 1.0

    max_steps: PowerOfTwo = 1
    """the largest number of sampling steps that can be requested; one is taken, whatever it is"""

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        return regress_in_one_step(net, batch, torch.zeros_like(batch.data), drop_rows(batch, self.label_dropout))

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        check_num_steps(steps, self.max_steps)
        return euler(net, torch.zeros_like(noise), cond, [0.0, 1.0], guidance=guidance)
