"""The straight path from noise to data and the dyadic grid on it: the only place that knows t = 0 is noise."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .base import T, X
from .errors import UserError


def broadcast(t: T, x: X) -> Float[Tensor, "b *ones"]:
    """Return a number per example, shaped so that it multiplies x."""
    return t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def interpolate(noise: X, data: X, t: T, sigma_min: float = 0.0) -> X:
    """Return the point at time t of the line from noise to data: (1 - t) noise + t data (eq. 1).

    sigma_min: share of the noise that is left at t = 1; 0 here, 1e-5 in the original.
    """
    t = broadcast(t, data)
    x = torch.lerp(noise, data, t)
    return torch.addcmul(x, t, noise, value=sigma_min) if sigma_min else x


def velocity(noise: X, data: X, sigma_min: float = 0.0) -> X:
    """Return the direction of that line (eq. 1)."""
    return torch.sub(data, noise, alpha=1 - sigma_min)


def step(x: X, d: T, v: X) -> X:
    """Take one step along an average velocity: x_{t+d} = x_t + d v (eq. 3)."""
    return x + broadcast(d, x) * v


def step_size(level: Int[Tensor, "b"]) -> T:
    """Return d = 2^-k of level k: k = 0 is one step, k = 7 is 128. Exact in float32 and bfloat16."""
    return torch.exp2(-level.float())


def stratified_levels(rows: int, levels: int) -> Int[Tensor, "{rows}"]:
    """Draw a level in [0, levels) for each row, ascending; each level's expected share is rows / levels.

    Systematic sampling: one uniform offset decides all rows, so the count of a level is rows / levels rounded
    up or down, and a single row still sees every level over time. Drawn on the CPU: the counts shape the batch.
    """
    offset = torch.rand((), dtype=torch.float64)
    ranks = torch.arange(rows, dtype=torch.float64) + offset
    return (ranks * levels / max(rows, 1)).long().clamp_(max=levels - 1)


def grid_times(level: Int[Tensor, "b"]) -> T:
    """Draw a uniform multiple of d = 2^-level in [0, 1 - d] for each row."""
    # Apple's GPUs have no float64; the 24 bits of float32 are enough for levels up to 15.
    kind = torch.float32 if level.device.type == "mps" else torch.float64
    nodes = torch.exp2(level.to(kind))
    return ((torch.rand(len(level), device=level.device, dtype=kind) * nodes).floor() / nodes).float()


def stage_of(progress: float, stages: int) -> int:
    """Return which of so many equal stages a share of the way in [0, 1] is in; the end belongs to the last."""
    return min(math.floor(stages * progress + 1e-9), stages - 1)  # the share is rounded, as 3/7 is


def check_num_steps(steps: int, max_steps: int) -> None:
    """Raise UserError where a number of sampling steps is not in 1..max_steps."""
    if not 1 <= steps <= max_steps:
        raise UserError(f"steps must be a whole number from 1 to {max_steps}, not {steps}")


def sampling_times(steps: int, max_steps: int) -> list[float]:
    """Return times 0 = t_0 < ... < t_steps = 1 whose steps are powers of two, each on the grid of its size.

    Of the largest power of two p <= steps, the last steps - p intervals of 1/p are halved:
    3 = 1/2 + 1/4 + 1/4. Raise UserError where steps is not in 1..max_steps.
    """
    check_num_steps(steps, max_steps)
    power = 1 << (steps.bit_length() - 1)
    whole = 2 * power - steps
    halves = range(2 * whole, 2 * power + 1)
    return [i / power for i in range(whole)] + [i / (2 * power) for i in halves]


def levels_of(max_steps: int) -> int:
    """Return log2(max_steps): the number of levels above the finest."""
    return int(math.log2(max_steps))
