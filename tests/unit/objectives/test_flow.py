"""The flow-matching objective: what the network sees, what it is asked for, and how it is sampled."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats

from helpers.oracle import GaussianOracle, Spy, random_network
from shortcut_models.base import Batch
from shortcut_models.objectives import FlowMatching


def labelled(rows: int) -> Batch:
    return Batch(torch.randn(rows, 2, dtype=torch.float64), {"label": torch.arange(rows) % 3})


def test_what_the_network_sees() -> None:
    spy, target_net, batch = Spy(), Spy(), labelled(5000)
    FlowMatching().losses(spy, target_net, batch)
    (seen,) = spy.calls
    assert not target_net.calls
    assert torch.equal(seen.d, torch.zeros(5000))
    assert 0 <= seen.t.min() <= seen.t.max() < 1
    assert stats.kstest(seen.t.numpy(), "uniform").pvalue > 1e-5
    t = seen.t[:, None]
    noise = (seen.x - t * batch.data) / (1 - t)
    # The share of x that is noise vanishes at t = 1, and with it the digits it could be recovered from.
    assert stats.kstest(noise[seen.t < 0.99].flatten().numpy(), "norm").pvalue > 1e-5


@pytest.mark.parametrize("dropout", [0.0, 0.1, 1.0])
def test_labels_reach_the_network_less_those_dropped(dropout: float) -> None:
    spy, batch = Spy(), labelled(8000)
    FlowMatching(label_dropout=dropout).losses(spy, Spy(), batch)
    label = spy.calls[0].label
    assert label is not None
    lost = label < 0
    assert torch.equal(label[~lost], batch.cond["label"][~lost])
    assert abs(lost.double().mean() - dropout) <= 5 * math.sqrt(dropout * (1 - dropout) / 8000)


def test_losses_equal_a_reference_written_row_by_row() -> None:
    network = random_network()
    spy, batch = Spy(network), labelled(50)
    losses = FlowMatching(label_dropout=0.3).losses(spy, Spy(), batch)
    (seen,) = spy.calls
    for row in range(50):
        one, t = slice(row, row + 1), seen.t[row].double()
        velocity = batch.data[one] - (seen.x[one] - t * batch.data[one]) / (1 - t)
        lost = seen.label[one] < 0
        made = network(
            seen.x[one], seen.t[one], torch.zeros(1), network.encode({"label": batch.cond["label"][one]}, lost)
        )
        expected = ((made - velocity) ** 2).mean().float()
        torch.testing.assert_close(losses.per_example[row], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(losses.logs["flow"], losses.per_example)
    assert not losses.logs["flow"].requires_grad


@pytest.mark.parametrize(("mean", "std"), [(0.7, 0.3), (0.0, 1.0), (-2.0, 2.0)])
def test_the_oracle_reaches_the_least_possible_loss(mean: float, std: float) -> None:
    """Which is the variance of data - noise that x_t leaves open, averaged over time."""

    def left_open(t: float) -> float:
        return 1 + std**2 - (t * std**2 - (1 - t)) ** 2 / ((1 - t) ** 2 + (t * std) ** 2)

    least, _ = integrate.quad(left_open, 0, 1)
    rows = 40_000
    data = mean + std * torch.randn(rows, 1, dtype=torch.float64)
    oracle = GaussianOracle(torch.tensor([mean], dtype=torch.float64), std)
    loss = FlowMatching().losses(oracle, oracle, Batch(data)).per_example.double()
    assert abs(loss.mean() - least) < 5 * loss.std() / math.sqrt(rows)


def test_what_the_network_is_told_when_sampled() -> None:
    spy = Spy()
    FlowMatching().sample(spy, torch.randn(2, 2), {}, 5)
    torch.testing.assert_close(torch.stack([call.t for call in spy.calls]), torch.arange(5)[:, None].repeat(1, 2) / 5)
    assert all(torch.equal(call.d, torch.zeros(2)) for call in spy.calls)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 128])
def test_a_single_point_is_reached_in_any_number_of_steps(steps: int) -> None:
    """Its flow lines are straight."""
    point = torch.tensor([0.5, -2.0], dtype=torch.float64)
    made = FlowMatching().sample(GaussianOracle(point, 0.0), torch.randn(4, 2, dtype=torch.float64), {}, steps)
    torch.testing.assert_close(made, point.expand(4, 2), rtol=0, atol=1e-5)


def test_the_error_of_euler_halves_with_the_step() -> None:
    oracle = GaussianOracle(torch.tensor([1.0, -1.0], dtype=torch.float64), 0.5)
    noise = torch.randn(64, 2, dtype=torch.float64)
    errors = [
        (FlowMatching(max_steps=512).sample(oracle, noise, {}, steps) - oracle.mean - 0.5 * noise).norm()
        for steps in (128, 256, 512)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.01)
