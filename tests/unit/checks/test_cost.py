"""What a pass counts, against the multiplications that PyTorch carries out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from shortcut_models.base import Network, NetworkConfig
from shortcut_models.checks.examples import Probe
from shortcut_models.networks import DiTConfig, MLPConfig, UNet2dConfig

ROWS = 4


def multiplications(call: Callable[[], object]) -> int:
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (MLPConfig(width=64, depth=2), (64,)),
        (DiTConfig(width=64, depth=2, heads=2), (3, 16, 16)),
        (UNet2dConfig(width=16, levels=2), (3, 16, 16)),
    ],
    ids=["mlp", "dit", "unet"],
)
def test_evaluations_are_those_of_the_multiplications(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    probe = Probe(config.build(shape, {}))
    x, t = torch.randn(ROWS, *shape), torch.rand(ROWS)

    def answer(net: Network) -> Callable[[Tensor, Tensor, Tensor], Any]:
        return lambda x, t, d: net(x, t, d)

    def jvp() -> tuple[Tensor, Tensor]:
        return torch.func.jvp(answer(probe), (x, t, t), (x, torch.ones_like(t), -torch.ones_like(t)))

    def with_backward() -> None:
        value, tangent = jvp()
        (value - tangent.detach()).square().sum().backward()

    found = {}
    for name, call in {
        "a pass": torch.no_grad()(lambda: probe(x, t, t)),
        "with its backward pass": lambda: probe(x, t, t).square().sum().backward(),
        "in jvp": torch.no_grad()(jvp),
        "in jvp, with the backward pass of the value": with_backward,
    }.items():
        before = probe.cost
        found[name] = multiplications(call), (probe.cost - before) / ROWS
    one = found["a pass"][0]
    assert [count for _, count in found.values()] == [1, 3, 3, 5]
    for name, (measured, count) in found.items():
        assert measured / one == pytest.approx(count, rel=0.1), name
