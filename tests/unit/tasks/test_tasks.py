"""The 2-D distributions and the digits."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from shortcut_models.tasks import Digits, Toy
from shortcut_models.tasks.toy import Distribution

DISTRIBUTIONS = get_args(Distribution)


def toy_points(name: str, count: int = 20_000) -> np.ndarray:
    task = Toy(name, size=count)
    return task.decode(task.encode(task.dataset("train").__getitems__(list(range(count))).data))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_toy_splits_are_apart_and_always_the_same(name: str) -> None:
    task, rows = Toy(name, size=1000), list(range(1000))
    train, test = (task.dataset(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (1000, 1000)
    assert task.conditions == {}
    assert train[0].data.shape == (1, *task.shape)
    again = Toy(name, size=1000).dataset("train").__getitems__(rows).data
    assert torch.equal(train.__getitems__(rows).data, again)
    assert set(map(tuple, again.tolist())).isdisjoint(map(tuple, test.__getitems__(rows).data.tolist()))
    assert again.dtype == torch.float32


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_fresh_points_are_judged_close_and_others_far(name: str) -> None:
    task = Toy(name)
    unlabelled = np.full(4000, -1)
    close = task.evaluate(task.points(4000, 9).numpy(), unlabelled)["sliced_wasserstein"]
    far = task.evaluate(task.points(4000, 9).numpy() + 0.5, unlabelled)["sliced_wasserstein"]
    assert close < 0.05
    assert far == pytest.approx(0.5 * math.sqrt(2) * 2 / math.pi, rel=0.1)


def test_four_gaussians() -> None:
    points = toy_points("four-gaussians")
    centres = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    gaps = points[:, None] - centres
    nearest = np.linalg.norm(gaps, axis=2).argmin(1)
    assert np.bincount(nearest) / len(points) == pytest.approx([0.25] * 4, abs=0.02)
    assert gaps[np.arange(len(points)), nearest].std(0) == pytest.approx([0.1, 0.1], rel=0.02)


def test_checkerboard() -> None:
    points = toy_points("checkerboard")
    assert np.abs(points).max() <= 2
    squares, counts = np.unique(np.floor(points), axis=0, return_counts=True)
    assert {int(sum(square) % 2) for square in squares} == {0}
    assert len(squares) == 8
    assert counts / len(points) == pytest.approx([1 / 8] * 8, abs=0.015)
    assert (points % 1).mean(0) == pytest.approx([0.5, 0.5], abs=0.01)


def test_moons() -> None:
    """Two half circles of radius 1 about (-1/2, -1/4) and (1/2, 1/4), open to each other."""
    points = toy_points("moons")
    upper, lower = (np.linalg.norm(points - centre, axis=1) - 1 for centre in ([-0.5, -0.25], [0.5, 0.25]))
    nearest = np.where(np.abs(upper) < np.abs(lower), upper, lower)
    assert nearest.std() < 0.1
    assert np.abs(nearest).max() < 0.5
    assert (np.abs(upper) < 0.02).mean() == pytest.approx((np.abs(lower) < 0.02).mean(), abs=0.02)
    assert points.mean(0) == pytest.approx([0, 0], abs=0.02)


def test_spirals() -> None:
    """Radius and angle grow together: 1.5 turns to radius 2, in two arms half a turn apart."""
    points = toy_points("spirals")
    radius, angle = np.linalg.norm(points, axis=1), np.arctan2(points[:, 1], points[:, 0])
    turned = (angle - 1.5 * math.pi * radius) % math.pi
    # From an angle's error to the distance from the arm, which radius = angle / (1.5 pi) crosses at a slant.
    off = np.minimum(turned, math.pi - turned) * radius / np.sqrt(1 + (1.5 * math.pi * radius) ** 2)
    assert np.sqrt((off[radius > 0.3] ** 2).mean()) == pytest.approx(0.05, rel=0.05)
    assert 1.9 < np.quantile(radius, 0.99) < 2.1
    assert points.mean(0) == pytest.approx([0, 0], abs=0.03)


def test_digits_are_all_there_and_held_out_ones_are_not_trained_on() -> None:
    task = Digits()
    train, test = (task.dataset(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (1347, 450)
    batches = [part.__getitems__(list(range(len(part)))) for part in (train, test)]
    rows = [
        (*image.flatten().tolist(), int(label))
        for batch in batches
        for image, label in zip(batch.data, batch.cond["label"], strict=True)
    ]
    images, labels = load_digits(return_X_y=True)
    assert sorted(rows) == sorted((*image.tolist(), int(label)) for image, label in zip(images, labels, strict=True))
    shares = torch.bincount(batches[1].cond["label"]) / 450
    assert shares.min() > 0.08


def test_digits_are_encoded_to_minus_one_to_one_and_back() -> None:
    task = Digits()
    raw = task.dataset("train").__getitems__(list(range(100))).data
    x = task.encode(raw)
    assert x.shape == (100, *task.shape)
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)
    np.testing.assert_array_equal(task.decode(x), raw[:, 0].numpy())
    np.testing.assert_array_equal(task.decode(x + 0.05), raw[:, 0].numpy())
    assert set(np.unique(task.decode(5 * x))) <= set(range(17))
    assert task.conditions["label"].count == 10


def test_real_digits_are_judged_well_and_others_badly() -> None:
    task = Digits()
    batch = task.dataset("train").__getitems__(list(range(900)))
    images, labels = task.decode(task.encode(batch.data)), batch.cond["label"].numpy()
    real = task.evaluate(images, labels)
    assert real["accuracy"] > 0.99
    assert min(real["recall"], real["coverage"]) > 0.93
    wrong = task.evaluate(images, (labels + 1) % 10)
    assert wrong["accuracy"] < 0.02
    noise = task.evaluate(np.random.default_rng(0).integers(0, 17, (900, 8, 8)).astype(np.float32), labels)
    assert max(noise["precision"], noise["coverage"], noise["density"]) < 0.05
    one_class = task.evaluate(images[labels == 3], labels[labels == 3])
    assert one_class["coverage"] < 0.2
    # Where no label was asked for there is no accuracy.
    assert math.isnan(task.evaluate(images, np.full(900, -1))["accuracy"])
