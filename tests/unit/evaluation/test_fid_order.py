"""Real images lie in files class by class: what is taken of their features must not be the first classes alone."""

from __future__ import annotations

import numpy as np
import pytest

from shortcut_models.evaluation import fid
from shortcut_models.evaluation.fid import measures, real_vs_real_fid
from shortcut_models.evaluation.fid_reference import Reference
from shortcut_models.evaluation.fid_samples import SampleFeatures
from shortcut_models.metrics import frechet_distance, gaussian_fit, manifold_measures

CLASSES, IMAGES, AMONG = 20, 4000, 1000
CENTRES = 5 * np.random.default_rng(0).normal(size=(CLASSES, 8))


def features_of(labels: np.ndarray, seed: int) -> np.ndarray:
    """Features of images of these classes, which lie far apart."""
    return (CENTRES[labels] + np.random.default_rng(seed).normal(size=(len(labels), 8))).astype(np.float32)


REAL = features_of(np.arange(IMAGES) * CLASSES // IMAGES, 1)
"""class by class, as class folders are read"""


def reference(features: np.ndarray) -> Reference:
    return Reference(*gaussian_fit(REAL), count=IMAGES, features=features)


@pytest.mark.parametrize("kept", [AMONG, IMAGES // 2, IMAGES])
def test_neighbourhoods_are_those_of_all_classes(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(fid, "NEIGHBOURS_AMONG", AMONG)
    monkeypatch.setattr(fid, "kernel_distance", lambda *_: 0.0)  # which takes 17 s, and is not looked at here
    rows = np.sort(np.random.default_rng(3).permutation(IMAGES)[:kept])
    made = features_of(np.arange(IMAGES) % CLASSES, 2)
    found = measures(SampleFeatures(made, np.zeros(IMAGES), np.zeros((IMAGES, 2)), 0.0), reference(REAL[rows]))
    every_fourth = manifold_measures(REAL[:: IMAGES // AMONG], made[:AMONG])  # as many of each class
    assert {name: found[name] for name in every_fourth} == pytest.approx(every_fourth, abs=0.06)


@pytest.mark.parametrize("num", [200, 1000, 4000])
def test_real_against_real_is_that_of_a_fair_sample(num: int) -> None:
    """Within its scatter: a prefix, of some of the classes, is hundreds away."""
    expected = frechet_distance(*gaussian_fit(REAL[:: IMAGES // num]), *gaussian_fit(REAL))
    found = real_vs_real_fid(reference(REAL), num)
    assert found is not None
    assert abs(found - expected) < 4
    if num < IMAGES:
        assert frechet_distance(*gaussian_fit(REAL[:num]), *gaussian_fit(REAL)) > 10


def test_good_samples_are_not_below_real_against_real() -> None:
    """Fewer images have a higher FID, so nothing is measured where fewer are kept than there are samples."""
    good = features_of(np.arange(IMAGES) % CLASSES, 4)
    few = reference(REAL[::20])
    assert frechet_distance(*gaussian_fit(few.features), few.mu, few.sigma) > frechet_distance(
        *gaussian_fit(good), few.mu, few.sigma
    )
    assert real_vs_real_fid(few, IMAGES) is None
    assert real_vs_real_fid(Reference(np.zeros(8), np.eye(8)), 10) is None
    assert real_vs_real_fid(few, 100) is not None
