"""Measures against closed forms, loops and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, stats

from shortcut_models.metrics import frechet_distance, manifold_measures, sliced_wasserstein


def points(count: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size))


def test_sliced_wasserstein_in_one_dimension_is_wasserstein() -> None:
    a, b = points(400, 1, 0), 2 * points(400, 1, 1) + 0.3
    expected = stats.wasserstein_distance(a[:, 0], b[:, 0])
    assert sliced_wasserstein(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [2, 5])
def test_sliced_wasserstein_is_the_mean_over_directions(size: int) -> None:
    a, b = points(300, size, 0), points(300, size, 1) * 1.5 + 0.2
    rays = points(4000, size, 2)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    expected = np.mean([stats.wasserstein_distance(a @ ray, b @ ray) for ray in rays])
    assert sliced_wasserstein(a, b, directions=4000) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2])
def test_a_shift_in_the_plane_costs_two_over_pi_of_its_length(angle: float) -> None:
    """Every projection is shifted by |cos|, whose mean over the circle is 2 / pi."""
    a = points(100, 2, 0)
    b = np.random.default_rng(1).permutation(a + 3 * np.array([np.cos(angle), np.sin(angle)]))
    assert sliced_wasserstein(a, b, directions=20_000) == pytest.approx(3 * 2 / np.pi, rel=0.01)


def test_sliced_wasserstein_is_a_distance_and_always_the_same() -> None:
    a, b = points(50, 3, 0), points(50, 3, 1)
    assert sliced_wasserstein(a, np.flip(a, 0)) == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(a, b) == pytest.approx(sliced_wasserstein(b, a), rel=1e-12)
    assert sliced_wasserstein(a, b) == sliced_wasserstein(a, b)
    assert sliced_wasserstein(2 * a, 2 * b) == pytest.approx(2 * sliced_wasserstein(a, b), rel=1e-12)


def naive_measures(real: np.ndarray, made: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, point by point."""

    def radius(i: int, among: np.ndarray) -> float:
        return sorted(np.linalg.norm(among[i] - among[j]) for j in range(len(among)) if j != i)[k - 1]

    real_radii, made_radii = ([radius(i, among) for i in range(len(among))] for among in (real, made))
    inside = [[np.linalg.norm(r - m) < radius for m in made] for r, radius in zip(real, real_radii, strict=True)]
    return {
        "precision": np.mean([any(row[j] for row in inside) for j in range(len(made))]),
        "recall": np.mean(
            [any(np.linalg.norm(r - m) < s for m, s in zip(made, made_radii, strict=True)) for r in real]
        ),
        "density": sum(map(sum, inside)) / (k * len(made)),
        "coverage": np.mean([any(row) for row in inside]),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("shift", "scale", "count"), [(0.0, 1.0, 60), (0.7, 0.5, 35), (0.0, 2.0, 60), (4.0, 0.2, 9)])
def test_manifold_measures_equal_their_definitions(shift: float, scale: float, count: int, k: int) -> None:
    real, made = points(50, 3, 0), shift + scale * points(count, 3, 1)
    found, expected = manifold_measures(real, made, k), naive_measures(real, made, k)
    assert found == pytest.approx(expected, abs=1e-12)


def test_manifold_measures_at_the_ends() -> None:
    real = points(200, 2, 0)
    assert manifold_measures(real, real + 1e-6) == pytest.approx(
        {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}, abs=0.2
    )
    far = manifold_measures(real, real + 1000)
    assert set(far.values()) == {0.0}
    collapsed = manifold_measures(real, np.repeat(real[:1], 200, 0))
    assert collapsed["precision"] == 1.0
    assert collapsed["recall"] == 0.0
    assert collapsed["coverage"] < 0.1


def test_few_points_have_no_manifold() -> None:
    assert manifold_measures(points(50, 2, 0), points(5, 2, 1)) == {}
    assert manifold_measures(points(5, 2, 0), points(50, 2, 1)) == {}
    assert len(manifold_measures(points(50, 2, 0), points(6, 2, 1))) == 4


def covariance(size: int, seed: int, rank: int | None = None) -> np.ndarray:
    root = points(rank or 2 * size, size, seed)
    return root.T @ root / len(root)


def test_frechet_distance_of_one_dimension_and_of_shifts() -> None:
    one = np.array([[4.0]]), np.array([[9.0]])
    assert frechet_distance(np.array([1.0]), one[0], np.array([3.0]), one[1]) == pytest.approx(4 + (2 - 3) ** 2)
    same = covariance(6, 0)
    assert frechet_distance(np.zeros(6), same, np.full(6, 0.5), same) == pytest.approx(6 * 0.25)
    assert frechet_distance(np.ones(6), same, np.ones(6), same) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rank", [None, 3])
def test_frechet_distance_equals_the_matrix_root(rank: int | None) -> None:
    a, b = covariance(8, 0, rank), covariance(8, 1)
    mean_a, mean_b = points(2, 8, 2)
    root = linalg.sqrtm(a @ b).real
    expected = np.sum((mean_a - mean_b) ** 2) + np.trace(a + b - 2 * root)
    assert frechet_distance(mean_a, a, mean_b, b) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(mean_b, b, mean_a, a) == pytest.approx(expected, rel=1e-4)
