"""What several objectives need."""

import abc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, NamedTuple

import annotated_types as at
import torch
from jaxtyping import Bool
from torch import Tensor

from ..base import Batch, Cond, Losses, Network, Objective, PairBatch, Requires, T, X
from ..config import Fraction, PositiveInt, PowerOfTwo
from ..path import check_num_steps, grid_times, levels_of, velocity
from ..sampling import euler
from .pairing import Pairing, paired_noise

Weight = Annotated[float, at.Ge(0)]  # A guidance weight.


class Draws(NamedTuple):
    """All that is random about a batch; the targets follow from it."""

    noise: X
    t: T
    drop: Bool[Tensor, "b"]  # rows that lose their condition


@dataclass(frozen=True)
class CommonOptions(Objective):
    """The options that come first in most methods."""

    max_steps: PowerOfTwo = 128
    """the largest number of sampling steps offered"""
    label_dropout: Fraction = 0.1
    """share of rows trained without their condition, so that guidance can be chosen when sampling"""


@dataclass(frozen=True)
class OneStepSize(CommonOptions):
    """The options of methods whose network is always conditioned on the same step size, and what they share."""

    conditioned_step_size: Fraction = 0.0
    """the step size that the network is conditioned on, always the same"""
    sigma_min: Fraction = 0.0
    """share of the noise that is left in the data's end of the path"""

    @classmethod
    def original(cls, **changes: Any) -> Any:
        """Return the method as the paper's authors have it."""
        return replace(cls(conditioned_step_size=1.0, sigma_min=1e-5), **changes)

    def regress(self, name: str, net: Network, batch: Batch, draws: Draws, x: X, target: X) -> Losses:
        """Return the losses of the network's velocities at x, under the name that the log gives them."""
        step_cond = torch.full_like(draws.t, self.conditioned_step_size)
        loss = squared_error(net(x, draws.t, step_cond, net.encode(batch.cond, draws.drop)), target)
        return Losses(loss, {name: loss.detach()})

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        times = even_times(steps, self.max_steps)
        return euler(net, noise, cond, times, step_cond=self.conditioned_step_size, guidance=guidance)


class NetworkTargets(OneStepSize):
    """Methods with targets made by networks, and times on the grid of a step size that may change in training."""

    loss_name: ClassVar[str]  # of the loss in the log

    def level(self, progress: float) -> int:
        """Return the level of the step size, 2^-level, at this share of the way: the finest."""
        return levels_of(self.max_steps)

    def draw(self, batch: Batch, level: int) -> Draws:
        """Draw noise, times on the grid of step size 2^-level, and the rows that lose their condition."""
        return draw_on_grid(batch, level, self.label_dropout)

    @abc.abstractmethod
    def targets(
        self, target_net: Network, teacher: Network | None, batch: Batch, draws: Draws, level: int
    ) -> tuple[X, X]:
        """Return (x_t, target) of every row, without gradients; nothing in here is random."""

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        level = self.level(progress)
        draws = self.draw(batch, level)
        x, target = self.targets(target_net, teacher, batch, draws, level)
        return self.regress(self.loss_name, net, batch, draws, x, target)


@dataclass(frozen=True)
class FromPairs(CommonOptions):
    """The options of methods that learn from noises and what a trained model made of them."""

    uses_target_net: ClassVar[bool] = False
    requires: ClassVar[Requires] = "pairs"

    label_dropout: Fraction = 0.1
    """share of pairs made and learned without their condition, so that guidance can be chosen when sampling"""
    pairs: PositiveInt = 50_000
    """number of noises whose samples are learned from, written to the run's directory"""
    pair_steps: PositiveInt = 128
    """sampling steps of the trained model, for each of them"""
    pair_guidance: Weight = 1.0
    """guidance weight of the trained model; 1 is none"""


def regress_in_one_step(net: Network, batch: Batch, start: X, drop: Bool[Tensor, "b"]) -> Losses:
    """Return the losses of one step of size 1 from `start` to the data."""
    t = torch.zeros(len(batch), device=start.device)
    v = net(start, t, torch.ones_like(t), net.encode(batch.cond, drop))
    loss = squared_error(v, velocity(start, batch.data))
    return Losses(loss, {"regression": loss.detach()})


def required(teacher: Network | None) -> Network:
    """Return the teacher. Raise TypeError where the caller of `losses` passed none: no other network replaces it."""
    if teacher is None:
        raise TypeError("this objective learns from a trained network: pass losses(..., teacher=...)")
    return teacher


def draw_on_grid(batch: Batch, level: int, label_dropout: float, pairing: Pairing = "independent") -> Draws:
    """Draw noise, times on the grid of step size 2^-level, and the rows that lose their condition."""
    t = grid_times(torch.full((len(batch),), level, device=batch.data.device))
    return Draws(paired_noise(batch, pairing), t, drop_rows(batch, label_dropout))


def squared_error(prediction: X, target: X) -> T:
    """Return the mean squared error of each row, in float32."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def drop_rows(batch: Batch, share: float) -> Bool[Tensor, "b"]:
    """Draw the rows that lose their condition, each with probability `share`; of pairs, they are those made without."""
    if isinstance(batch, PairBatch):
        return batch.drop
    return torch.rand(len(batch), device=batch.data.device) < share


def even_times(steps: int, max_steps: int) -> list[float]:
    """Return the times 0, 1/steps, ..., 1. Raise UserError where steps is not in 1..max_steps."""
    check_num_steps(steps, max_steps)
    return [i / steps for i in range(steps + 1)]
