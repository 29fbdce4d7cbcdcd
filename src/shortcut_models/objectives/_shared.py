"""What several objectives need."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import annotated_types as at
import torch
from jaxtyping import Bool
from torch import Tensor

from ..base import Batch, T, X
from ..path import check_num_steps, grid_times
from .pairing import Pairing, paired_noise

Weight = Annotated[float, at.Ge(0)]
"""A guidance weight."""


class Draws(NamedTuple):
    """All that is random about a batch; the targets follow from it."""

    noise: X
    t: T
    drop: Bool[Tensor, "b"]
    """rows that lose their condition"""


def draw_on_grid(batch: Batch, level: int, label_dropout: float, pairing: Pairing = "independent") -> Draws:
    """Noise, times on the grid of step size 2^-level, and the rows that lose their condition."""
    t = grid_times(torch.full((len(batch),), level, device=batch.data.device))
    return Draws(paired_noise(batch, pairing), t, drop_rows(batch, label_dropout))


def squared_error(prediction: X, target: X) -> T:
    """The mean squared error of each row, in float32."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def drop_rows(batch: Batch, share: float) -> Bool[Tensor, "b"]:
    """Which rows lose their condition: each on its own, with probability `share`; or those made without, where it says.

    A sample that was made with its condition must not stand for those without one.
    """
    return torch.rand(len(batch), device=batch.data.device) < share if batch.drop is None else batch.drop


def even_times(steps: int, max_steps: int) -> list[float]:
    """Times 0, 1/steps, ..., 1. Raises UserError where a number of sampling steps is not in 1..max_steps."""
    check_num_steps(steps, max_steps)
    return [i / steps for i in range(steps + 1)]
