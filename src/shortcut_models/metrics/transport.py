"""Distances by optimal transport, along lines."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def sliced_wasserstein(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "n k"], directions: int = 256) -> float:
    """Return the sliced 1-Wasserstein distance: the mean over directions of the mean gap between sorted projections.

    a and b hold equally many points. The directions are fixed (seeded), so values can be compared.
    """
    rays = np.random.default_rng(0).normal(size=(a.shape[1], directions))
    rays /= np.linalg.norm(rays, axis=0)
    return float(np.abs(np.sort(a @ rays, axis=0) - np.sort(b @ rays, axis=0)).mean())
