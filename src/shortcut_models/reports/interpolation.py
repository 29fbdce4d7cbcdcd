"""A picture of samples between two noises: a model that learned well goes smoothly from one sample to another."""

import numpy as np
from PIL import Image

from ..models.conditioning import Labels
from ..models.model import Model


def interpolate(
    model: Model, steps: int, pairs: int, seed: int, points: int = 9, label: Labels | None = None
) -> Image.Image:
    """Draw the samples of `Model.interpolate`, each pair of noises a row; label: of all rows, or one each."""
    made = model.interpolate(pairs, points, steps=steps, seed=seed, label=label)
    labels = np.full((pairs, points), -1)
    labels[:, 0] = model.labels(pairs, label)  # A row is of one class, which is named once.
    return model.draw(made.reshape(-1, *made.shape[2:]), labels.ravel(), points)
