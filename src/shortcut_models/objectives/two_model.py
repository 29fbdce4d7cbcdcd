"""Two-model distillation (Luhman and Luhman 2021): a second network learns by heart what the first makes of a noise.

The authors' blog begins with it. The second network answers in one step and has no other: it can be no better than
the regression, and one trains twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..base import Batch, Cond, Losses, Network, X
from ..config import PowerOfTwo
from ..path import check_num_steps
from ..sampling import euler
from ._shared import FromPairs, drop_rows, regress_in_one_step
from .pairing import paired_noise


@dataclass(frozen=True)
class TwoModel(FromPairs):
    """Regress a trained model's sample from its noise, in one step."""

    conditioned_step_size = 1.0

    max_steps: PowerOfTwo = 128
    """the largest number of sampling steps that can be requested; one is taken, whatever it is"""

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        noise = paired_noise(batch, "independent")
        return regress_in_one_step(net, batch, noise, drop_rows(batch, self.label_dropout))

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        check_num_steps(steps, self.max_steps)
        return euler(net, noise, cond, [0.0, 1.0], guidance=guidance)
