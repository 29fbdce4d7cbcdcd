"""Measures of samples against real data. None of them looks at a network."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def sliced_wasserstein(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "n k"], directions: int = 256) -> float:
    """Sliced 1-Wasserstein distance: the mean over directions of the mean gap between sorted projections.

    a and b hold equally many points. The directions are fixed (seeded), so figures can be compared.
    """
    rays = np.random.default_rng(0).normal(size=(a.shape[1], directions))
    rays /= np.linalg.norm(rays, axis=0)
    return float(np.abs(np.sort(a @ rays, axis=0) - np.sort(b @ rays, axis=0)).mean())


def manifold_measures(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "m features"], k: int = 5
) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    precision: share of samples inside a real point's ball (radius: distance to its k-th neighbour);
    recall: share of real points inside a sample's ball; density: balls of real points around a sample, over k;
    coverage: share of real points with a sample inside their ball.
    """
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    def radii(points: np.ndarray) -> np.ndarray:
        return NearestNeighbors(n_neighbors=k).fit(points).kneighbors()[0][:, -1]

    between = pairwise_distances(real, made)
    inside_real = between < radii(real)[:, None]
    return {
        "precision": float(inside_real.any(0).mean()),
        "recall": float((between < radii(made)[None]).any(1).mean()),
        "density": float(inside_real.sum(0).mean() / k),
        "coverage": float((between.min(1) < radii(real)).mean()),
    }
