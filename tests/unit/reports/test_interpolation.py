"""Rows of samples between two noises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from shortcut_models.base import Cond, Label, Network, T, X
from shortcut_models.errors import UserError
from shortcut_models.models.model import Model
from shortcut_models.objectives import FlowMatching
from shortcut_models.randomness import sample_noise
from shortcut_models.reports.interpolation import interpolate
from shortcut_models.tasks import Toy


class Still(Network):
    """Leaves the noise where it is, and remembers the labels that it got."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor, self.labels = nn.Parameter(torch.zeros(())), torch.empty(0)

    def encode(self, cond: Cond, drop: Tensor | None = None) -> None:
        self.labels = cond.get("label", self.labels)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        return torch.zeros_like(x)


class Seen(Toy):
    """A task whose samples are kept instead of drawn."""

    shape = (1000,)
    conditions: ClassVar[dict[str, Label]] = {"label": Label(3)}
    samples: ClassVar[list[np.ndarray]] = []

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        self.samples[:] = [samples.reshape(-1, columns, *self.shape)]
        return Image.new("RGB", (1, 1))


@pytest.fixture
def still() -> Iterator[Model]:
    yield Model(Still(), FlowMatching(max_steps=4), Seen())
    Seen.samples.clear()


def test_interpolation_goes_from_one_noise_to_another_and_stays_normal(still: Model) -> None:
    interpolate(still, 2, pairs=4, seed=7, points=5)
    (rows,) = Seen.samples
    noise = sample_noise(7, range(8), (1000,)).numpy()
    assert rows.shape == (4, 5, 1000)
    assert np.allclose(rows[:, 0], noise[1::2])
    assert np.allclose(rows[:, -1], noise[0::2])
    assert np.allclose(rows[:, 2], 0.5 * noise[0::2] + np.sqrt(0.75) * noise[1::2], atol=1e-6)
    assert np.allclose(rows.std(-1), 1, atol=0.1)
    assert still.network.labels.tolist() == [label for label in (0, 1, 2, 0) for _ in range(5)]


def test_interpolation_of_one_class_in_many_batches(still: Model) -> None:
    interpolate(still, 1, pairs=120, seed=0, points=5, label=2)
    assert Seen.samples[0].shape == (120, 5, 1000)
    assert set(still.network.labels.tolist()) == {2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": 0}, "pairs must be at least 1"),
        ({"points": 1}, "points must be at least 2"),
        ({"seed": -1}, "seed"),
        ({"steps": 5}, "steps"),
        ({"label": 3}, "label"),
    ],
)
def test_interpolation_refuses_numbers_out_of_range(still: Model, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        interpolate(still, **{"steps": 1, "pairs": 2, "seed": 0, **wrong})
