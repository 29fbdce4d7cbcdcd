"""A network that does not fit the task, or keeps a tensor on another device, gets one clear line before it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from helpers.runs import refusal, same
from helpers.tiny_parts import TRAINING, Line, Regress, Scale
from shortcut_models import fit
from shortcut_models.base import Label
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import Digits
from shortcut_models.training.trial import check_fits

CPU = torch.device("cpu")


class Own(Scale):
    """Any forward pass."""

    def __init__(self, act: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.act, self.table = act, torch.zeros(2, device="meta")

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        return self.act(self, x)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda net, x: x @ torch.ones(3, 3), r"does not take x of shape \(2, 2\) \(RuntimeError: .*\): build it for"),
        (lambda net, x: x.sum(1), r"returns shape \(2,\) for x of shape \(2, 2\): it must return a velocity"),
        (lambda net, x: (x, x), "returns tuple for x of shape"),
        (lambda net, x: x + net.table, "does not run on cpu .*register tensors that it keeps as buffers"),
        (lambda net, x: net.missing(x), "AttributeError: 'Own' object has no attribute 'missing'"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_a_network_that_does_not_fit_is_refused_before_a_step(act: Any, message: str) -> None:
    with refusal(message):
        fit(Own(act), Regress(), Line(), training=TRAINING, quiet=True)


def test_a_network_of_another_task_is_refused() -> None:
    network = MLPConfig(width=16, depth=1).build((2,), {})
    with refusal(r"the network does not take x of shape \(2, 1, 8, 8\) with label"):
        fit(network, Shortcut(), Digits(), training=TRAINING, quiet=True)
    fewer = MLPConfig(width=16, depth=1).build((1, 8, 8), {"label": Label(3)})
    with refusal(r"does not take x of shape \(2, 1, 8, 8\) with label \(IndexError"):
        check_fits(fewer, Digits(), CPU)
    check_fits(MLPConfig(width=16, depth=1).build((1, 8, 8), Digits().conditions), Digits(), CPU)


def test_the_network_and_what_is_random_stay_as_they_are() -> None:
    class Noisy(Scale):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
            self.calls += 1  # a buffer
            return self.norm(x + torch.randn_like(x))

    network = Noisy().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_fits(network, Line(), CPU)
    assert torch.equal(torch.rand(2), expected)
    assert same(before, dict(network.state_dict()))
    assert network.training
