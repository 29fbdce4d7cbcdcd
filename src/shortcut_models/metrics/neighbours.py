"""Measures by neighbourhoods: which fraction of each of two sets of points is near the other."""

import numpy as np
from jaxtyping import Float

BLOCK = 2**24  # distances in memory at once, 128 MiB


def manifold_measures(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "m features"], k: int = 5
) -> dict[str, float]:
    """Return precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    The ball of a point has the distance to its k-th neighbour as its radius.

    - precision: fraction of samples inside the ball of a real point;
    - recall: fraction of real points inside the ball of a sample;
    - density: balls of real points around a sample, over k;
    - coverage: fraction of real points with a sample inside their ball.

    Returns:
        The four by name; nothing where either set has only k points.
    """
    if min(len(real), len(made)) <= k:
        return {}
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    def radii(points: np.ndarray) -> np.ndarray:
        return NearestNeighbors(n_neighbors=k).fit(points).kneighbors()[0][:, -1]

    radii_real, radii_made = radii(real), radii(made)
    balls, recalled, covered = np.zeros(len(made), np.int64), 0, 0
    rows = max(BLOCK // len(made), 1)
    for begin in range(0, len(real), rows):
        part = slice(begin, begin + rows)
        between = pairwise_distances(real[part], made)
        balls += (between < radii_real[part, None]).sum(0)
        recalled += int((between < radii_made[None]).any(1).sum())
        covered += int((between.min(1) < radii_real[part]).sum())
    return {
        "precision": float((balls > 0).mean()),
        "recall": recalled / len(real),
        "density": float(balls.mean() / k),
        "coverage": covered / len(real),
    }
