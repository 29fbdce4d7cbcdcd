"""A small one of everything that the contract is tried with: networks, shapes, conditions, objectives."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from shortcut_models.base import Batch, Condition, Frames, Label, Losses, Network, NetworkConfig, Objective, Vector
from shortcut_models.errors import UserError
from shortcut_models.networks import NETWORKS, ChunkDiTConfig, DiTConfig, MLPConfig, UNet1dConfig, UNet2dConfig
from shortcut_models.objectives import OBJECTIVES

from .objective_variants import VARIANTS
from .oracle import wake

IMAGES: dict[str, Any] = {"image_width": 4, "image_stages": 1, "keypoints": 3}
SMALL: dict[str, NetworkConfig] = {
    "mlp": MLPConfig(width=16, depth=1, condition_width=16, **IMAGES),
    "dit": DiTConfig(width=16, depth=1, heads=2),
    "unet": UNet2dConfig(width=16, levels=2, condition_width=16, **IMAGES),
    "unet1d": UNet1dConfig(width=8, condition_width=16, kernel=3, **IMAGES),
    "chunk-dit": ChunkDiTConfig(width=16, depth=1, heads=2, **IMAGES),
}
"""A small one of each kind of network; a new kind that is not here is tried with its default sizes."""
SHAPES = [(2,), (1, 8, 8), (3, 8, 8), (5, 3)]
CONDITIONS: dict[str, Mapping[str, Condition]] = {
    "none": {},
    "label": {"label": Label(3)},
    "image": {"image": Frames(2, 1, 16, 20)},
    "label+state": {"label": Label(3), "state": Vector(4)},
}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

every_objective = pytest.mark.parametrize(
    "objective", [pytest.param(cls(), id=name) for name, cls in OBJECTIVES.items()]
)
every_variant = pytest.mark.parametrize("objective", [pytest.param(value, id=name) for name, value in VARIANTS.items()])
every_condition = pytest.mark.parametrize(
    "conditions", [pytest.param(value, id=name) for name, value in CONDITIONS.items()]
)
conditions_of_methods = pytest.mark.parametrize(
    "conditions",
    [
        pytest.param(value, id=name, marks=[] if name in ("none", "label") else pytest.mark.long)
        for name, value in CONDITIONS.items()
    ],
)


def fitting() -> list[Any]:
    """Every kind of network with every shape that it takes."""
    kinds = {name: SMALL.get(name) or make() for name, make in NETWORKS.items() if not name.startswith("dit-")}
    found = []
    for name, config in kinds.items():
        for shape in SHAPES:
            try:
                config.build(shape, {})
            except UserError:
                continue
            found.append(pytest.param(config, shape, id=f"{name}-{'x'.join(map(str, shape))}"))
    return found


every_network = pytest.mark.parametrize(("config", "shape"), fitting())
QUICK = {"mlp-2", "dit-3x8x8", "chunk-dit-5x3"}
networks_of_methods = pytest.mark.parametrize(
    ("config", "shape"),
    [pytest.param(*each.values, id=each.id, marks=[] if each.id in QUICK else pytest.mark.long) for each in fitting()],
)
"""every network again, for tests of all methods with all networks: methods do not look into them"""


def batch_of(rows: int, shape: tuple[int, ...], conditions: Mapping[str, Condition], device: str = "cpu") -> Batch:
    made = {name: kind.example(rows) for name, kind in conditions.items()}
    return Batch(torch.randn(rows, *shape), made).to(device)


def pair(
    config: NetworkConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition], device: str = "cpu"
) -> tuple[Network, Network]:
    """A network with random weights and a target_net with others."""
    network = config.build(shape, conditions)
    return wake(network).to(device), wake(copy.deepcopy(network)).to(device)


def idle(network: Network, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> set[str]:
    """The names of the parameters that do nothing where x is zero."""
    device = next(network.parameters()).device
    batch = batch_of(4, shape, conditions, str(device))
    x, half = torch.zeros(4, *shape, device=device), torch.full((4,), 0.5, device=device)
    drop = torch.tensor([False, True, False, True], device=device)
    made = network(x, half, half, network.encode(batch.cond, drop)).square().sum()
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(made, parameters, allow_unused=True)
    return {name for name, grad in zip(names, gradients, strict=True) if grad is None or not grad.any()}


def losses_of(objective: Objective, network: Network, target_net: Network, batch: Batch) -> Losses:
    """The objective's losses; where it learns from a trained network, that is one with the target_net's weights."""
    teacher = copy.deepcopy(target_net)
    teacher._forward_pre_hooks.clear()  # hooks that watch the target_net do not watch this one
    return objective.losses(network, target_net, batch, teacher=teacher)
