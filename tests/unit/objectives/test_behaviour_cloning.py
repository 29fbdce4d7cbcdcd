"""Behaviour cloning against least squares, and what the network is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.oracle import Spy
from shortcut_models.base import Batch, Cond, Network
from shortcut_models.errors import UserError
from shortcut_models.objectives import BehaviourCloning

ROWS = 40


class Linear(Network):
    """An affine function of the state, and another constant without it; x, t and d add what they should not."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 2).double()
        self.null = nn.Parameter(torch.randn(2, dtype=torch.float64))

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Tensor:
        made = self.map(cond["state"])
        return made if drop is None else torch.where(drop[:, None], self.null, made)

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        return context + 5 * x + 7 * (t + 1 - d)[:, None]


def demonstrations() -> Batch:
    state = torch.randn(ROWS, 3, dtype=torch.float64)
    return Batch(torch.randn(ROWS, 2, dtype=torch.float64) + state[:, :2] ** 2, {"state": state})


def test_the_loss_has_its_minimum_at_least_squares() -> None:
    network, batch, objective = Linear(), demonstrations(), BehaviourCloning(label_dropout=0.0)
    columns = torch.cat([batch.cond["state"], torch.ones(ROWS, 1, dtype=torch.float64)], 1)
    best = torch.linalg.lstsq(columns, batch.data).solution
    with torch.no_grad():
        network.map.weight.copy_(best[:3].T)
        network.map.bias.copy_(best[3])
    losses = objective.losses(network, network, batch)
    residual = batch.data - columns @ best
    torch.testing.assert_close(losses.per_example, residual.square().mean(1).float())
    torch.testing.assert_close(losses.logs["regression"], losses.per_example)
    losses.per_example.mean().backward()
    for parameter in network.map.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() < 1e-6
    made = objective.sample(network, torch.randn(ROWS, 2, dtype=torch.float64), batch.cond, 1)
    torch.testing.assert_close(made, columns @ best)


def test_guidance_goes_on_from_the_answer_without_a_condition() -> None:
    network, batch = Linear(), demonstrations()
    sample = lambda w: BehaviourCloning().sample(network, torch.randn(ROWS, 2).double(), batch.cond, 1, guidance=w)
    answer = network.map(batch.cond["state"]).detach()
    torch.testing.assert_close(sample(0.0), network.null.detach().expand(ROWS, 2))
    torch.testing.assert_close(sample(1.5), network.null.detach() + 1.5 * (answer - network.null.detach()))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_network_is_asked_at_zero_for_the_whole_step(share: float) -> None:
    spy, batch = Spy(), Batch(torch.randn(2000, 2), {"label": torch.zeros(2000, dtype=torch.int64)})
    BehaviourCloning(label_dropout=share).losses(spy, Spy(), batch)
    BehaviourCloning().sample(spy, torch.randn(4, 2), {"label": torch.zeros(4, dtype=torch.int64)}, 1)
    assert [len(call.x) for call in spy.calls] == [2000, 4]
    for call in spy.calls:
        assert (call.x == 0).all()
        assert (call.t == 0).all()
        assert (call.d == 1).all()
    label = spy.calls[0].label
    assert label is not None
    assert (label == -1).float().mean().item() == pytest.approx(share, abs=0.05)


def test_it_has_one_step_and_takes_one_where_more_may_be_asked_for() -> None:
    network, cond = Linear(), demonstrations().cond
    noise = torch.randn(ROWS, 2, dtype=torch.float64)
    with pytest.raises(UserError, match="from 1 to 1, not 2"):
        BehaviourCloning().sample(network, noise, cond, 2)
    one, many = (BehaviourCloning(max_steps=8).sample(network, noise, cond, steps) for steps in (1, 8))
    assert torch.equal(one, many)
