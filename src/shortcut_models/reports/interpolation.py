"""Samples between two noises: a model that learned well goes smoothly from one sample to another."""

import numpy as np
import torch
from PIL import Image

from ..errors import UserError
from ..models.model import Model
from ..randomness import sample_noise

BATCH = 250  # samples made at once


def interpolate(
    model: Model, steps: int, pairs: int, seed: int, points: int = 9, label: int | None = None
) -> Image.Image:
    """Draw samples from n z0 + sqrt(1 - n^2) z1 between two noises, which is standard normal for n from 0 to 1.

    Each pair of noises is a row, with `points` values of n. The label is that of all rows; None: one a row, in turn.
    """
    for name, value, least in (("pairs", pairs, 1), ("points", points, 2)):
        if value < least:
            raise UserError(f"{name} must be at least {least}, not {value}")
    model.check_request(pairs * points, seed, 1.0, BATCH, encoded=3)
    shape = model.task.shape
    labels = model.labels(pairs, label).repeat(points)
    z0, z1 = sample_noise(seed, range(2 * pairs), shape).view(pairs, 2, 1, *shape).unbind(1)
    n = torch.linspace(0, 1, points).view(points, *[1] * len(shape))
    noise = (n * z0 + (1 - n**2).sqrt() * z1).flatten(0, 1)
    rows = [slice(begin, begin + BATCH) for begin in range(0, len(noise), BATCH)]
    made = [model.sample_from(noise[r], steps, model.conditions(range(len(noise))[r], labels[r])) for r in rows]
    return model.task.draw(np.concatenate(made), points)
