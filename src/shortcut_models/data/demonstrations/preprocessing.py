"""Preprocessing of observations and actions: cuts of vectors, crops of images, normalization of numbers."""

import functools
import re
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ...errors import UserError

Normalisation = Literal["min-max", "gaussian"]
MIN_SPREAD = 1e-4
"""a number that varies less is shifted but not scaled, as in Diffusion Policy's code: its noise would grow"""
Numbers = tuple[float, ...]

_FORM = re.compile(r"(?P<name>[^\[\]]+)(?P<cut>\[(?P<start>-?\d+)?:(?P<stop>-?\d+)?\])?")


def parse(text: str) -> tuple[str, slice | None]:
    """Return the name of an observation and the slice of its numbers: `state[:2]`, or `state` without a slice."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise UserError(f"observations must be names such as image, state or state[:2], not {text!r}")
    start, stop = (None if match[bound] is None else int(match[bound]) for bound in ("start", "stop"))
    return match["name"], slice(start, stop) if match["cut"] else None


def cropped(
    images: Shaped[Tensor, "b history channels height width"], side: int, *, at_random: bool
) -> Shaped[Tensor, "b history channels side side"]:
    """Return a square of each image: the middle, or a random one (torch's global generator) for all frames of a row."""
    rows, height, width = len(images), *images.shape[-2:]
    if not at_random:
        top, left = (height - side) // 2, (width - side) // 2
        return images[..., top : top + side, left : left + side]
    tops, lefts = (torch.randint(size - side + 1, (rows,)).tolist() for size in (height, width))
    places = zip(images, tops, lefts, strict=True)
    return torch.stack([image[..., top : top + side, left : left + side] for image, top, left in places])


def fit_normalization(values: Float[np.ndarray, "n size"], kind: Normalisation) -> tuple[Numbers, Numbers]:
    """Return centre and scale of each number, where normalized = (raw - centre) / scale.

    Normalized numbers are in [-1, 1], or have mean 0 and (unbiased) standard deviation 1.
    """
    exact = values.astype(np.float64)
    low, high = exact.min(0), exact.max(0)
    if kind == "min-max":
        constant = high - low < MIN_SPREAD
        centre, scale = np.where(constant, low, (low + high) / 2), np.where(constant, 1, (high - low) / 2)
    else:
        deviation = exact.std(0, ddof=1) if len(exact) > 1 else np.zeros_like(low)
        centre, scale = exact.mean(0), np.where(deviation < MIN_SPREAD, 1, deviation)
    return as_numbers(centre), as_numbers(scale)


def as_numbers(values: np.ndarray) -> Numbers:
    """Return the values rounded to float32, so that a configuration holds the numbers of the computation."""
    return tuple(values.astype(np.float32).tolist())


@functools.lru_cache(maxsize=64)
def tensor_of(numbers: Numbers, device: torch.device) -> Float[Tensor, "n"]:
    """Return the numbers on a device, copied there only once: a policy uses them at every decision."""
    return torch.tensor(numbers, dtype=torch.float32, device=device)
