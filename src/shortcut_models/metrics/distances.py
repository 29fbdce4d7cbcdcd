"""Distances of two sets of points that need no Gaussians."""

import numpy as np
from jaxtyping import Float


def kernel_distance(
    a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "m k"], subsets: int = 100, subset_size: int = 1000
) -> float:
    """Return the squared maximum mean discrepancy with kernel (x·y / k + 1)³, as in KID (Bińkowski et al. 2018).

    It is the mean of the unbiased estimate over random subsets of both, which are always the same. Subsets are smaller
    where there are fewer points. For points of one distribution it is about 0, and below 0 half of the time; for less
    than two points it is NaN.
    """
    size = min(subset_size, len(a), len(b))
    if size < 2:
        return float("nan")
    from sklearn.metrics.pairwise import polynomial_kernel

    rng, found = np.random.default_rng(0), []
    for _ in range(subsets):
        x, y = (np.asarray(points[rng.choice(len(points), size, replace=False)], np.float64) for points in (a, b))
        # The mean similarity within each set less that between both (Gretton et al. 2012, eq. 3).
        within = sum(kernel.sum() - np.trace(kernel) for kernel in map(polynomial_kernel, (x, y)))
        found.append(within / (size * (size - 1)) - 2 * polynomial_kernel(x, y).mean())
    return float(np.mean(found))


def sliced_wasserstein(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "n k"], directions: int = 256) -> float:
    """Return the sliced 1-Wasserstein distance: the mean over directions of the mean gap between sorted projections.

    a and b hold equally many points. The directions are fixed (seeded), so values can be compared.
    """
    rays = np.random.default_rng(0).normal(size=(a.shape[1], directions))
    rays /= np.linalg.norm(rays, axis=0)
    return float(np.abs(np.sort(a @ rays, axis=0) - np.sort(b @ rays, axis=0)).mean())
