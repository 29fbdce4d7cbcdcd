"""Statistics of actions and vectors, number by number, as affine maps: seen = (raw - centre) / scale."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Normalisation = Literal["min-max", "gaussian"]
CONSTANT = 1e-4
"""a number that varies less than this is only shifted, as in Diffusion Policy's code: divided, its noise would grow"""
Numbers = tuple[float, ...]


def fit(values: Float[np.ndarray, "n size"], kind: Normalisation) -> tuple[Numbers, Numbers]:
    """Centre and scale of each number: to [-1, 1], or to mean 0 and (unbiased) standard deviation 1."""
    exact = values.astype(np.float64)
    low, high = exact.min(0), exact.max(0)
    if kind == "min-max":
        constant = high - low < CONSTANT
        centre, scale = np.where(constant, low, (low + high) / 2), np.where(constant, 1, (high - low) / 2)
    else:
        deviation = exact.std(0, ddof=1) if len(exact) > 1 else np.zeros_like(low)
        centre, scale = exact.mean(0), np.where(deviation < CONSTANT, 1, deviation)
    return as_numbers(centre), as_numbers(scale)


def as_numbers(values: np.ndarray) -> Numbers:
    """The values in float32, so that a configuration holds what is computed with."""
    return tuple(values.astype(np.float32).tolist())


@functools.lru_cache(maxsize=64)
def tensor_of(numbers: Numbers, device: torch.device) -> Float[Tensor, "n"]:
    """The numbers on a device: put there once, as acting should not wait for that at every frame."""
    return torch.tensor(numbers, dtype=torch.float32, device=device)
