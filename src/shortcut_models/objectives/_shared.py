"""What several objectives need."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ..base import T, X
from ..errors import UserError


def squared_error(prediction: X, target: X) -> T:
    """The mean squared error of each row, in float32."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def drop_rows(rows: int, share: float, device: Any) -> Bool[Tensor, "{rows}"]:
    """Which rows lose their condition: each on its own, with probability `share`."""
    return torch.rand(rows, device=device) < share


def check_budget(steps: int, max_steps: int) -> None:
    """Raise UserError where a number of sampling steps is not in 1..max_steps."""
    if not 1 <= steps <= max_steps:
        raise UserError(f"steps must be a whole number from 1 to {max_steps}, not {steps}")
