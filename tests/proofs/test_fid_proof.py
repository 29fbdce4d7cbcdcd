"""The proof that FID is FID: CIFAR-10's test images against its training images come out as in the literature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.fid_files import real_inception
from helpers.paths import SHARED
from helpers.runs import shortcut
from shortcut_models.evaluation.fid_reference import read_reference
from shortcut_models.metrics import frechet_distance

TRAINING = SHARED / "data" / "fid_stats" / "cifar10_train.npz"
"""moments of the 50,000 training images, computed with the same network by another program"""


@pytest.mark.long
def test_features_of_plain_images_lie_where_those_of_photos_do() -> None:
    """Sane numbers, in a second: not negative, mostly small, and as far from the photos' mean as plain images are."""
    real_inception()
    from shortcut_models.evaluation.inception import Inception

    if not TRAINING.exists():
        pytest.skip(f"{TRAINING} is not there")
    training = read_reference(TRAINING)
    rng = np.random.default_rng(0)
    plain = np.broadcast_to(rng.integers(0, 256, (4, 1, 1, 3), np.uint8), (4, 32, 32, 3))
    features = Inception()(plain)
    assert features.min() >= 0
    assert 0.1 < features.mean() < 1
    apart = np.linalg.norm(features - training.mu, axis=1)
    spread = np.sqrt(np.trace(training.sigma))
    assert (apart > 0.8 * spread).all()
    assert (apart < 5 * spread).all()
    mu, sigma = training.mu, training.sigma
    assert abs(frechet_distance(mu, sigma, mu, sigma)) <= 1e-6


@pytest.mark.slow
def test_cifar10_is_at_the_distance_that_the_literature_has(tmp_path: Path) -> None:
    real_inception()
    maker = SHARED / "tools" / "get_images.py"
    for path in (maker, TRAINING):
        if not path.exists():
            pytest.skip(f"{path} is not there")
    made = subprocess.run([sys.executable, maker, "cifar10", tmp_path / "cifar10"], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"CIFAR-10 cannot be fetched: {made.stderr.strip()[-200:]}")
    out = tmp_path / "test.npz"
    done = shortcut("fid-stats", "--data", tmp_path / "cifar10", "--split", "test", "--keep", 0, "--out", out)
    assert done.code == 0, done.err
    found, training = read_reference(out), read_reference(TRAINING)
    assert found.count == 10_000
    assert frechet_distance(found.mu, found.sigma, training.mu, training.sigma) == pytest.approx(3.151, abs=2e-3)
