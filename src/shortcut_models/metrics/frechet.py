"""Gaussians fitted to points, and the Fréchet distance between two of them. All in float64."""

import numpy as np
from jaxtyping import Float

BLOCK = 4096
"""points that are taken together: it bounds the memory, and the result depends on the order of the points alone"""


class Moments:
    """Mean and covariance of points that come in parts, without keeping them (Chan, Golub and LeVeque 1983)."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean = np.zeros(size)
        """[size]"""
        self.scatter = np.zeros((size, size))
        """[size, size], the sum of the outer products of the points less their mean"""

    def add(self, points: Float[np.ndarray, "n size"]) -> "Moments":
        """Add points."""
        for begin in range(0, len(points), BLOCK):
            part = np.asarray(points[begin : begin + BLOCK], np.float64)
            mean, total = part.mean(0), self.count + len(part)
            gap = mean - self.mean
            part = part - mean
            self.scatter += part.T @ part + np.outer(gap, gap) * (self.count * len(part) / total)
            self.mean += gap * (len(part) / total)
            self.count = total
        return self

    @property
    def covariance(self) -> Float[np.ndarray, "size size"]:
        """The unbiased covariance, divided by the number of points less one; 0 for a single point."""
        return self.scatter / max(self.count - 1, 1)


def gaussian_fit(points: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k k"]]:
    """Return mean and covariance, in float64; the covariance of a single point is 0."""
    found = Moments(points.shape[1]).add(points)
    return found.mean, found.covariance


def frechet_distance(
    mean_a: Float[np.ndarray, "k"],
    covariance_a: Float[np.ndarray, "k k"],
    mean_b: Float[np.ndarray, "k"],
    covariance_b: Float[np.ndarray, "k k"],
) -> float:
    """Return the squared Fréchet distance of Gaussians, as in FID: |m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    With C = R Rᵀ for each, the trace of the root is the sum of the singular values of R_aᵀ R_b. The product of the
    covariances is never formed: where they are singular, as with fewer points than features, its eigenvalues that
    should be 0 are about 1e-14, and the roots of a thousand of these add up to 1e-4.
    """
    from scipy.linalg import svdvals

    covariances = np.asarray([covariance_a, covariance_b], np.float64)
    values, vectors = np.linalg.eigh(covariances)
    root_a, root_b = vectors * np.sqrt(values.clip(0))[:, None]
    gap = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
    return float(max(gap @ gap + np.trace(covariances.sum(0)) - 2 * svdvals(root_a.T @ root_b).sum(), 0.0))
