"""Noise paired with data by optimal transport: against brute force, and without telling of the label."""

from __future__ import annotations

import itertools

import pytest
import torch

from shortcut_models.base import Batch, Network, T, X
from shortcut_models.errors import UserError
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.objectives.pairing import paired_noise, transport


def total(noise: torch.Tensor, data: torch.Tensor) -> float:
    return float((noise - data).square().sum())


@pytest.mark.parametrize("event", [(2,), (1, 4, 4)])
def test_no_permutation_is_shorter(event: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    noise, data = torch.randn(6, *event), torch.randn(6, *event)
    best = min(total(noise[list(order)], data) for order in itertools.permutations(range(6)))
    assert total(transport(noise, data, {}), data) == pytest.approx(best, rel=1e-6)


def test_noises_are_traded_within_a_label_only() -> None:
    torch.manual_seed(0)
    labels = torch.randint(3, (40,))
    noise, data = torch.randn(40, 2), torch.randn(40, 2) + 10 * labels[:, None]
    paired = transport(noise, data, {"label": labels})
    for label in range(3):
        mine, before = paired[labels == label], noise[labels == label]
        assert torch.equal(mine.sort(0).values, before.sort(0).values)
        alone = transport(before, data[labels == label], {})
        assert torch.equal(mine, alone)


def test_an_example_that_is_not_finite_does_not_stop_the_others() -> None:
    noise, data = torch.randn(6, 2), torch.randn(6, 2)
    data[1, 0], data[4, 1] = torch.nan, torch.inf
    paired = transport(noise, data, {})
    assert torch.equal(paired.sort(0).values, noise.sort(0).values)


def test_in_one_dimension_the_order_is_kept() -> None:
    torch.manual_seed(0)
    noise, data = torch.randn(50, 1), torch.rand(50, 1)
    assert torch.equal(transport(noise, data, {}).argsort(0), data.argsort(0))


def test_independent_noise_is_left_alone() -> None:
    batch = Batch(torch.randn(8, 2))
    torch.manual_seed(1)
    expected = torch.randn(8, 2)
    torch.manual_seed(1)
    assert torch.equal(paired_noise(batch, "independent"), expected)


def test_conditions_other_than_labels_are_refused() -> None:
    with pytest.raises(UserError, match="'state' is not a label"):
        transport(torch.randn(4, 2), torch.randn(4, 2), {"state": torch.randn(4, 3)})


@pytest.mark.parametrize("objective", [Shortcut(pairing="transport"), FlowMatching(pairing="transport")])
def test_paired_paths_are_shorter(objective: Shortcut | FlowMatching) -> None:
    """The velocity that an objective regresses is data - noise; the zero network's loss is its mean square."""

    class Zero(Network):
        def forward(self, x: X, t: T, d: T, context: object = None) -> X:
            return torch.zeros_like(x)

    torch.manual_seed(0)
    batch = Batch(torch.randn(256, 2))
    paired = objective.losses(Zero(), Zero(), batch).logs["flow"].mean()
    apart = type(objective)().losses(Zero(), Zero(), batch).logs["flow"].mean()
    assert paired < 0.5 * apart
