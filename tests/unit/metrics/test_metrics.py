"""Measures against closed forms, loops and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, stats

from shortcut_models.metrics import (
    Moments,
    frechet_distance,
    gaussian_fit,
    kernel_distance,
    manifold_measures,
    neighbours,
    sliced_wasserstein,
)


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


def test_many_points_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = points(83, 4, 0), points(61, 4, 1)
    expected = manifold_measures(real, made)
    monkeypatch.setattr(neighbours, "BLOCK", 10 * len(made))
    assert manifold_measures(real, made) == pytest.approx(expected, abs=1e-12)


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


@pytest.mark.parametrize("rows", [10_000, 40])
def test_identical_sets_are_at_distance_0_also_where_singular(rows: int) -> None:
    """Fewer points than features, on scales of several powers of ten; in another order, and so rounded otherwise."""
    a = points(rows, 300, 0) * np.geomspace(1e-3, 10, 300)
    b = np.random.default_rng(1).permutation(a)
    assert abs(frechet_distance(*gaussian_fit(a), *gaussian_fit(b))) <= 1e-6


def test_moments_do_not_depend_on_the_parts_that_points_come_in() -> None:
    a = (points(9000, 5, 0) + 1e4).astype(np.float32)  # far from 0, where sums of squares lose everything
    found = Moments(5)
    for part in np.split(a, [1, 7, 5000]):
        found.add(part)
    exact = a.astype(np.float64)
    for mean, covariance in ((found.mean, found.covariance), gaussian_fit(a)):
        assert mean == pytest.approx(exact.mean(0), rel=1e-12)
        assert covariance == pytest.approx(np.cov(exact, rowvar=False), rel=1e-9)
    assert found.count == 9000
    assert np.array_equal(gaussian_fit(a[:1])[1], np.zeros((5, 5)))


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    """The same features through another implementation."""
    fid = pytest.importorskip("torchmetrics.image.fid", reason="torchmetrics is not installed", exc_type=ImportError)
    import torch

    class Given(torch.nn.Module):
        num_features = 16

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.double().flatten(1)[:, :16]

    a, b = (np.random.default_rng(seed).integers(0, 200 + 30 * seed, (400, 3, 4, 4), np.uint8) for seed in (0, 1))
    other = fid.FrechetInceptionDistance(feature=Given(), input_img_size=(3, 4, 4)).set_dtype(torch.float64)
    other.update(torch.from_numpy(a), real=True)
    other.update(torch.from_numpy(b), real=False)
    features = (images.reshape(400, -1)[:, :16].astype(np.float64) for images in (a, b))
    assert frechet_distance(*(m for f in features for m in gaussian_fit(f))) == pytest.approx(
        float(other.compute()), abs=1e-3, rel=1e-6
    )


def naive_kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Its definition, pair by pair."""
    kernel = lambda x, y: (float(x @ y) / len(x) + 1) ** 3
    within = [np.mean([kernel(p[i], p[j]) for i in range(len(p)) for j in range(len(p)) if i != j]) for p in (a, b)]
    return sum(within) - 2 * float(np.mean([kernel(x, y) for x in a for y in b]))


def test_kernel_distance_equals_its_definition() -> None:
    a, b = points(7, 3, 0), points(7, 3, 1) + 0.5
    assert kernel_distance(a, b, subsets=3) == pytest.approx(naive_kernel_distance(a, b), rel=1e-12)
    one = kernel_distance(np.array([[0.0], [0.0]]), np.array([[1.0], [1.0]]), subsets=1)
    assert one == pytest.approx(1 + 8 - 2 * 1)  # kernels: 1 within a, (1 + 1)³ within b, 1 between


def test_kernel_distance_is_unbiased() -> None:
    """Over many draws from one distribution its mean is 0 within the error of the mean; from two, it is not."""
    draws = [kernel_distance(points(12, 4, 2 * i), points(12, 4, 2 * i + 1), subsets=1) for i in range(400)]
    error = np.std(draws) / 20
    assert abs(np.mean(draws)) < 4 * error
    assert np.min(draws) < 0
    apart = [kernel_distance(points(12, 4, 2 * i), points(12, 4, 2 * i + 1) + 1, subsets=1) for i in range(50)]
    assert np.mean(apart) > 20 * error


def test_kernel_distance_takes_subsets_and_is_always_the_same() -> None:
    a, b = points(300, 4, 0), points(200, 4, 1) + 0.3
    found = kernel_distance(a, b, subsets=50, subset_size=40)
    assert found == kernel_distance(a, b, subsets=50, subset_size=40)
    assert found == pytest.approx(kernel_distance(a, b, subsets=1, subset_size=200), rel=0.5)
    assert np.isnan(kernel_distance(a[:1], b))
