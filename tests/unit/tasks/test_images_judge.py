"""The measures of images, against closed forms and other implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from helpers.image_files import CLASSES, make_tar, pictures
from shortcut_models.metrics import frechet_distance
from shortcut_models.tasks import Images

# Evaluation.


def test_frechet_distance_against_closed_form_and_matrix_root() -> None:
    rng = np.random.default_rng(0)
    k, eye = 6, np.eye(6)
    gap = rng.normal(size=k)
    closed = gap @ gap + k * (np.sqrt(2.0) - np.sqrt(0.3)) ** 2
    assert frechet_distance(gap, 2.0 * eye, np.zeros(k), 0.3 * eye) == pytest.approx(closed, rel=1e-12)
    a, b = (np.cov(rng.normal(size=(50, k)) @ rng.normal(size=(k, k)), rowvar=False) for _ in range(2))
    root = scipy.linalg.sqrtm(a @ b)
    by_root = gap @ gap + np.trace(a + b - 2 * root.real)
    assert frechet_distance(gap, a, np.zeros(k), b) == pytest.approx(by_root, rel=1e-9)
    assert frechet_distance(gap, a, gap, a) == pytest.approx(0, abs=1e-9)
    flat = np.diag([3.0, 1.0, 0, 0, 0, 0])  # singular, where the matrix root breaks down
    other = np.diag([0.0, 1.0, 2.0, 0, 0, 0])
    assert frechet_distance(gap, flat, gap, other) == pytest.approx(3 + 2, rel=1e-12)


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright spots at one of three places, the class, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    y, x = np.mgrid[:12, :12]
    centre = 2 + 4 * labels[:, None, None] + rng.normal(0, 0.5, (count, 1, 1))
    bright = 220 * np.exp(-((x - centre) ** 2 + (y - 6) ** 2) / 6) + rng.normal(0, 8, (count, 12, 12))
    return bright.clip(0, 255).astype(np.uint8), labels


def test_evaluation_tells_good_samples_from_bad(tmp_path: Path) -> None:
    images, labels = blobs(600, 0)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    task = Images(data=str(tmp_path / "a.npz")).resolve()
    fresh, asked = blobs(300, 1)
    good = task.evaluate(fresh[..., None], asked)
    assert list(good) == ["pixel_frechet", "precision", "recall", "density", "coverage", "accuracy", "accuracy_real"]
    assert good["accuracy"] > 0.98
    assert good["accuracy_real"] > 0.98
    assert min(good["precision"], good["coverage"]) > 0.8
    noise = np.random.default_rng(2).integers(0, 256, fresh.shape, dtype=np.uint8)
    bad = task.evaluate(noise[..., None], asked)
    assert bad["pixel_frechet"] > 10 * good["pixel_frechet"]
    assert max(bad["precision"], bad["coverage"]) < 0.1
    wrong = task.evaluate(fresh[..., None], (asked + 1) % CLASSES)
    assert wrong["accuracy"] < 0.02
    assert good == task.evaluate(fresh[..., None], asked)
    assert "accuracy" not in task.evaluate(fresh[..., None], np.full(300, -1))


@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize("labelled", [True, False])
def test_evaluation_of_very_little(count: int, labelled: bool, tmp_path: Path) -> None:
    labels = np.zeros(count, int) if labelled else None  # of one class only
    task = Images(data=make_tar(tmp_path, pictures(count, 48, colour=True), labels)).resolve()
    measures = task.evaluate(pictures(1, 48, colour=True), np.zeros(1, int))
    assert list(measures) == ["pixel_frechet"]
    assert np.isfinite(measures["pixel_frechet"])
