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
    coverage: share of real points with a sample inside their ball. None of them where either has only k points.
    """
    if min(len(real), len(made)) <= k:
        return {}
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


def gaussian_fit(points: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k k"]]:
    """Mean and covariance, in float64; a single point has no covariance, and gets 0."""
    k, points = points.shape[1], points.astype(np.float64)
    covariance = np.cov(points, rowvar=False) if len(points) > 1 else np.zeros((k, k))
    return points.mean(0), covariance.reshape(k, k)


def frechet_distance(
    mean_a: Float[np.ndarray, "k"],
    covariance_a: Float[np.ndarray, "k k"],
    mean_b: Float[np.ndarray, "k"],
    covariance_b: Float[np.ndarray, "k k"],
) -> float:
    """Squared Fréchet distance of two Gaussians, as in FID: |m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    The trace of the root is the sum of the roots of the eigenvalues of the symmetric R C_b R with R = C_a^(1/2),
    which stays real and stable where covariances are singular.
    """
    a, b = np.asarray(covariance_a, np.float64), np.asarray(covariance_b, np.float64)
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    gap = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    return float(max(gap @ gap + np.trace(a) + np.trace(b) - 2 * cross, 0.0))
