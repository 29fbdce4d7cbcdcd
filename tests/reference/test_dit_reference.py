"""The DiT's gradient against finite differences, and in bfloat16 against the exact one, on every way to attend."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from helpers.oracle import wake
from shortcut_models.base import Label, Network
from shortcut_models.networks import DiTConfig
from shortcut_models.networks.dit import SHORT

SHAPES = {24: (3, 8, 12), 528: (3, 48, 44)}
"""images by their number of tokens: attention by plain products, and by the fused kernel"""


def awake(shape: tuple[int, ...]) -> Network:
    return wake(DiTConfig(width=64, depth=2, heads=2, patch_size=2).build(shape, {"label": Label(3)})).double()


def loss(network: Network, x: Tensor, target: Tensor) -> Tensor:
    rows = torch.arange(len(x))
    context = network.encode({"label": rows % 3}, rows % 2 == 1)
    v = network(x, rows / 8, torch.full((len(x),), 1 / 8), context)
    return (v.double() - target).square().mean()


def gradient(network: Network, x: Tensor, target: Tensor) -> list[Tensor]:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [part.double() for part in torch.autograd.grad(loss(network, x, target), parameters)]


def test_there_is_a_shape_for_each_way_to_attend() -> None:
    assert min(SHAPES) <= SHORT < max(SHAPES)


@pytest.mark.parametrize("tokens", SHAPES)
def test_the_gradient_is_that_of_finite_differences(tokens: int) -> None:
    network, shape = awake(SHAPES[tokens]), SHAPES[tokens]
    x, target = torch.randn(2, 4, *shape, dtype=torch.float64)
    exact = gradient(network, x, target)
    direction = [torch.randn_like(part) / part.numel() ** 0.5 for part in exact]
    slope = sum(float((a * b).sum()) for a, b in zip(exact, direction, strict=True))
    step, ends = 1e-5, []
    for sign in (1, -1):
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for parameter, part in zip(moved.parameters(), direction, strict=True):
                parameter += sign * step * part
            ends.append(float(loss(moved, x, target)))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("tokens", SHAPES)
def test_the_gradient_in_bfloat16_is_nearly_the_exact_one(tokens: int) -> None:
    network, shape = awake(SHAPES[tokens]), SHAPES[tokens]
    x, target = torch.randn(2, 4, *shape, dtype=torch.float64)
    exact = torch.cat([part.flatten() for part in gradient(network, x, target)])
    with torch.autocast("cpu", torch.bfloat16):
        rough = torch.cat([part.flatten() for part in gradient(network.float(), x.float(), target)])
    assert 1e-4 < float((rough - exact).norm() / exact.norm()) < 0.03
