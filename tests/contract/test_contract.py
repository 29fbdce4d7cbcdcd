"""What every objective and every network owes the others, whatever they are. New ones are picked up by themselves."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

from helpers.contract import (
    CONDITIONS,
    DEVICES,
    SMALL,
    batch_of,
    conditions_of_methods,
    every_condition,
    every_network,
    every_objective,
    every_variant,
    fitting,
    idle,
    losses_of,
    networks_of_methods,
    pair,
)
from helpers.objective_variants import ONE_STEP, VARIANTS
from shortcut_models.base import Batch, Condition, NetworkConfig, Objective
from shortcut_models.checks import check_network, check_objective
from shortcut_models.checks.cost import measure_cost
from shortcut_models.checks.objective import check_losses
from shortcut_models.checks.objective_sampling import check_samples
from shortcut_models.errors import UserError
from shortcut_models.objectives import Diffusion
from shortcut_models.path import grid_times, interpolate


@pytest.mark.parametrize(
    "call",
    [
        lambda: interpolate(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(4)),
        lambda: interpolate(torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3)),
        lambda: grid_times(torch.zeros(3)),
        lambda: Batch(torch.zeros(())),
        lambda: SMALL["mlp"].build((2,), {})(torch.zeros(3, 2), torch.zeros(3), torch.zeros(1)),
        lambda: SMALL["mlp"].build((2,), {}).conditions({}, torch.zeros(3)),
        lambda: SMALL["mlp"].build((2,), {}).embed(torch.zeros(3, 1), torch.zeros(3, 1)),
    ],
)
def test_wrong_shapes_and_types_do_not_pass(call: Callable[[], object]) -> None:
    """The checks that all other tests lean on are really made."""
    with pytest.raises(TypeCheckError):
        call()


def test_the_shapes_fit_what_they_should() -> None:
    images = "1x8x8 3x8x8"
    taken = {"mlp": f"2 {images} 5x3", "dit": images, "unet": images, "unet1d": "5x3", "chunk-dit": "5x3"}
    expected = [f"{name}-{shape}" for name, shapes in taken.items() for shape in shapes.split()]
    assert [parameter.id for parameter in fitting()][: len(expected)] == expected


@pytest.mark.parametrize("device", DEVICES)
@every_objective
@networks_of_methods
@conditions_of_methods
def test_losses(
    objective: Objective,
    config: NetworkConfig,
    shape: tuple[int, ...],
    conditions: Mapping[str, Condition],
    device: str,
) -> None:
    network, target_net = pair(config, shape, conditions, device)
    batch, at_zero = batch_of(96, shape, conditions, device), idle(network, shape, conditions)
    check_losses(objective, network, batch)

    losses = losses_of(objective, network, target_net, batch)
    assert losses.per_example.min() >= 0
    assert losses.logs
    losses.per_example.mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() == (objective.is_generative or name not in at_zero), name


@pytest.mark.parametrize("objective", [pytest.param(value, id=name) for name, value in (VARIANTS | ONE_STEP).items()])
def test_objectives(objective: Objective) -> None:
    """With a warning where something is doubtful, which is an error here."""
    straight = not isinstance(objective, Diffusion)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_objective(objective, straight_path=straight)


@every_objective
@networks_of_methods
def test_losses_in_bfloat16(objective: Objective, config: NetworkConfig, shape: tuple[int, ...]) -> None:
    network, target_net = pair(config, shape, CONDITIONS["label"])
    batch = batch_of(32, shape, CONDITIONS["label"])
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(losses_of(objective, network, target_net, batch).per_example)
    assert found[1].dtype == torch.float32
    assert not torch.equal(*found)
    torch.testing.assert_close(found[1].mean(), found[0].mean(), rtol=0.02, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@every_objective
@networks_of_methods
@conditions_of_methods
def test_samples(
    objective: Objective,
    config: NetworkConfig,
    shape: tuple[int, ...],
    conditions: Mapping[str, Condition],
    device: str,
) -> None:
    network, _ = pair(config, shape, conditions, device)
    batch = batch_of(4, shape, conditions, device)
    check_samples(objective, network, torch.randn_like(batch.data), batch, conditions)


@every_variant
@pytest.mark.parametrize("steps", [0, -1, "one too many"])
def test_numbers_of_steps_out_of_range_are_refused_by_every_objective(objective: Objective, steps: int | str) -> None:
    budget = objective.max_steps + 1 if isinstance(steps, str) else steps
    with pytest.raises(UserError, match=f"from 1 to {objective.max_steps}, not {budget}"):
        objective.sample(pair(SMALL["mlp"], (2,), {})[0], torch.randn(1, 2), {}, budget)


@every_objective
def test_objectives_are_frozen_values(objective: Any) -> None:
    assert dataclasses.replace(objective) == objective
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.max_steps = 4
    with pytest.raises(UserError, match="max-steps must be a power of two"):
        dataclasses.replace(objective, max_steps=100)


@pytest.mark.parametrize("objective", [pytest.param(value, id=name) for name, value in (VARIANTS | ONE_STEP).items()])
def test_evaluations_are_those_counted(objective: Objective) -> None:
    """On average, over all stages of training and the random shares of the rows."""
    cost = measure_cost(objective, (2,), CONDITIONS["label"])
    assert abs(cost.mean - objective.nfe_per_example) <= 5 * cost.error + 1e-6


@every_network
@every_condition
def test_networks(config: NetworkConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_network(config, shape=shape, conditions=conditions)
    network = config.build(shape, conditions)
    assert math.prod(shape) < sum(parameter.numel() for parameter in network.parameters())
