"""Shortcut models (Frans et al. 2024, arXiv 2410.12557): small steps from data, big steps from two half-steps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import annotated_types as at
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..base import Batch, Cond, Losses, Network, Objective, T, X
from ..config import Fraction, PowerOfTwo
from ..path import grid_times, interpolate, levels_of, sampling_times, step, step_size, stratified_levels, velocity
from ..sampling import euler
from ._shared import Weight, drop_rows, squared_error
from .pairing import Pairing, paired_noise


class Draws(NamedTuple):
    """All that is random about a batch; the targets follow from it. Bootstrap rows come first."""

    noise: X
    level: Int[Tensor, "b"]  # k where d = 2^-k; ascending over the bootstrap rows, then the finest for the flow rows
    t: T
    drop: Bool[Tensor, "b"]  # rows that lose their condition
    bootstrap: int  # number of bootstrap rows
    guided: int  # number of bootstrap rows whose half-steps are of the finest size: the last of the bootstrap rows


@dataclass(frozen=True)
class Shortcut(Objective):
    """One network for every power-of-two step size from 1 / max_steps to 1, and so for every number of steps."""

    max_steps: PowerOfTwo = 128
    """M, the finest grid: flow rows have d = 1 / M and their times are its multiples"""
    bootstrap_fraction: Fraction = 0.25
    """share of the rows trained on self-consistency; the others learn the velocity from data"""
    label_dropout: Fraction = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""
    guidance: Weight = 1.0
    """guidance weight of the velocities inside the finest bootstrap targets, which larger steps inherit; 1 is none"""
    pairing: Pairing = "independent"
    """noise goes with data independently, as in the paper, or by optimal transport among a batch's rows of one label"""
    sigma_min: Fraction = 0.0
    """share of the noise that is left in the data's end of the path"""
    clip: Annotated[float, at.Gt(0)] | None = None
    """bound on the coordinates of a bootstrap row's mid-point and target; none leaves them as they are"""

    @classmethod
    def original(cls, **changes: Any) -> "Shortcut":
        """Return the method as the paper's authors have it; docs/original.md lists the differences."""
        return replace(cls(bootstrap_fraction=0.125, sigma_min=1e-5, clip=4.0), **changes)

    @property
    def velocity_step_size(self) -> float:
        return 1 / self.max_steps

    @property
    def nfe_per_example(self) -> float:
        levels = levels_of(self.max_steps)
        if not levels:
            return 3.0
        return 3 + 2 * self.bootstrap_fraction * (1 if self.guidance == 1 else 1 + 1 / levels)

    def draw(self, batch: Batch) -> Draws:
        """Draw noise, levels, times on the grid of each level, and the rows that lose their condition."""
        rows, device, finest = len(batch), batch.data.device, levels_of(self.max_steps)
        # A fraction that is not a whole number of rows is kept on average, by rounding up or down at random.
        bootstrap = int(self.bootstrap_fraction * rows + torch.rand(()).item()) if finest else 0
        levels = stratified_levels(bootstrap, finest)
        level = torch.cat([levels, levels.new_full((rows - bootstrap,), finest)]).to(device)
        return Draws(
            noise=paired_noise(batch, self.pairing),
            level=level,
            t=grid_times(level),
            drop=drop_rows(batch, self.label_dropout),
            bootstrap=bootstrap,
            guided=int((levels == finest - 1).sum()) if self.guidance != 1 and batch.cond else 0,
        )

    @torch.no_grad()
    def bootstrap_targets(self, target_net: Network, x: X, cond: Cond, draws: Draws) -> X:
        """Return the mean velocity of two half-steps of the target_net (eq. 4), for the bootstrap rows x [n, *event].

        Where the half-step is the finest, both velocities are guided; the rows without condition that this needs
        go through the network together with the others, in the same two passes.
        """
        n, guided = draws.bootstrap, draws.guided
        with_unconditional = lambda rows: torch.cat([rows, rows[n - guided :]]) if guided else rows
        drop = torch.cat([draws.drop[:n], torch.ones_like(draws.drop[:guided])])
        context = target_net.encode({name: with_unconditional(value) for name, value in cond.items()}, drop)
        half = step_size(draws.level[:n]) / 2

        def average_velocity(x: X, t: T) -> X:
            v = target_net(with_unconditional(x), with_unconditional(t), with_unconditional(half), context)
            if not guided:
                return v
            plain, with_cond, without = v.tensor_split([n - guided, n])
            return torch.cat([plain, without + self.guidance * (with_cond - without)])

        bound = lambda x: x if self.clip is None else x.clamp(-self.clip, self.clip)
        first = average_velocity(x, draws.t[:n])
        second = average_velocity(bound(step(x, half, first)), draws.t[:n] + half)
        return bound((first + second) / 2)

    def targets(self, target_net: Network, batch: Batch, draws: Draws) -> tuple[X, X]:
        """Return (x_t, target) of every row; nothing in here is random."""
        n = draws.bootstrap
        x = interpolate(draws.noise, batch.data, draws.t, self.sigma_min)
        target = velocity(draws.noise[n:], batch.data[n:], self.sigma_min)
        if n:
            bootstrap = self.bootstrap_targets(target_net, x[:n], batch[:n].cond, draws)
            target = torch.cat([bootstrap.to(target.dtype), target])
        return x, target

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        draws = self.draw(batch)
        x, target = self.targets(target_net, batch, draws)
        context = net.encode(batch.cond, draws.drop)
        loss = squared_error(net(x, draws.t, step_size(draws.level), context), target)

        seen, finest = loss.detach(), levels_of(self.max_steps)
        nan = seen.new_full((), torch.nan)
        logs = {f"d=1/{2**k}": torch.where(draws.level == k, seen, nan) for k in range(finest)}
        return Losses(loss, {"flow": seen[draws.bootstrap :]} | logs)

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        times = sampling_times(steps, self.max_steps)
        return euler(net, noise, cond, times, guidance=guidance)
