"""Kernel distance: a maximum mean discrepancy, which needs no Gaussians and is unbiased with few points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

SUBSETS, SUBSET_SIZE = 100, 1000


def kernel_distance(
    a: Float[np.ndarray, "n k"],
    b: Float[np.ndarray, "m k"],
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y / k + 1)³, as in KID (Bińkowski et al. 2018).

    The mean of the unbiased estimate over random subsets of both, always the same ones; subsets are smaller where there
    are fewer points. About 0, and below it half of the time, for points of the same distribution; not a number for
    less than two points.
    """
    size = min(subset_size, len(a), len(b))
    if size < 2:
        return float("nan")
    rng, found = np.random.default_rng(0), []
    for _ in range(subsets):
        x, y = (np.asarray(points[rng.choice(len(points), size, replace=False)], np.float64) for points in (a, b))
        found.append(_unbiased(x, y))
    return float(np.mean(found))


def _unbiased(x: Float[np.ndarray, "n k"], y: Float[np.ndarray, "n k"]) -> float:
    """Mean similarity within each (of a point with the others, Gretton et al. 2012, eq. 3) less that between both."""
    n = len(x)
    kernel = lambda p, q: (p @ q.T / p.shape[1] + 1) ** 3
    within = sum(float(k.sum() - np.trace(k)) for k in (kernel(x, x), kernel(y, y)))
    return within / (n * (n - 1)) - 2 * float(kernel(x, y).mean())
