"""What every objective and every network owes the others, whatever they are. New ones are picked up by themselves."""

from __future__ import annotations

import copy
import dataclasses
import math
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
    every_condition,
    every_network,
    every_objective,
    every_variant,
    fitting,
    idle,
    losses_of,
    pair,
)
from helpers.objective_variants import ONE_STEP, VARIANTS
from helpers.oracle import wake
from shortcut_models.base import Batch, Condition, Network, NetworkConfig, Objective
from shortcut_models.errors import UserError
from shortcut_models.objectives import OBJECTIVES
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
@every_network
@every_condition
def test_losses(
    objective: Objective,
    config: NetworkConfig,
    shape: tuple[int, ...],
    conditions: Mapping[str, Condition],
    device: str,
) -> None:
    rows = 96
    network, target_net = pair(config, shape, conditions, device)
    before, mode, at_zero = copy.deepcopy(target_net.state_dict()), network.training, idle(network, shape, conditions)
    losses = losses_of(objective, network, target_net, batch_of(rows, shape, conditions, device))
    assert losses.per_example.shape == (rows,)
    assert losses.per_example.dtype == torch.float32
    assert losses.per_example.isfinite().all()
    assert losses.per_example.min() >= 0
    assert losses.logs
    for value in losses.logs.values():
        assert not value.requires_grad
        assert value.ndim <= 1
        assert not value.isinf().any()

    losses.per_example.mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() == (objective.is_generative or name not in at_zero), name
    assert all(parameter.grad is None for parameter in target_net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in target_net.state_dict().items())
    assert network.training == mode


@every_variant
@pytest.mark.parametrize("rows", range(1, 6))
def test_small_batches_and_their_log(objective: Objective, rows: int) -> None:
    names = []
    network, target_net = pair(SMALL["mlp"], (2,), CONDITIONS["label"])
    for _ in range(5):
        losses = losses_of(objective, network, target_net, batch_of(rows, (2,), CONDITIONS["label"]))
        assert losses.per_example.shape == (rows,)
        assert losses.per_example.isfinite().all()
        names.append(list(losses.logs))
    assert all(other == names[0] for other in names)


@every_objective
@every_network
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


@every_variant
def test_a_teacher_that_is_not_used_is_not_looked_at(objective: Objective) -> None:
    network, target_net = pair(SMALL["mlp"], (2,), {})
    looked: list[None] = []
    target_net.register_forward_pre_hook(lambda *_: looked.append(None))
    losses_of(objective, network, target_net, batch_of(64, (2,), {}))
    # Where there are stages, the trainer looks at it, who makes it the teacher of the next one.
    assert bool(looked) == (objective.uses_target_net and objective.stages == 1)


@every_variant
def test_labels_matter_to_the_loss(objective: Objective) -> None:
    network, target_net = pair(SMALL["mlp"], (2,), CONDITIONS["label"])
    batch = batch_of(64, (2,), CONDITIONS["label"])
    found = []
    for shift in (0, 1):
        torch.manual_seed(1)
        cond = {"label": (batch.cond["label"] + shift) % 3}
        found.append(losses_of(objective, network, target_net, Batch(batch.data, cond)).per_example)
    assert (found[0] != found[1]).float().mean() > 0.5


@pytest.mark.parametrize("device", DEVICES)
@every_objective
@every_network
@every_condition
def test_samples(
    objective: Objective,
    config: NetworkConfig,
    shape: tuple[int, ...],
    conditions: Mapping[str, Condition],
    device: str,
) -> None:
    network, _ = pair(config, shape, conditions, device)
    noise, cond = torch.randn(4, *shape, device=device), batch_of(4, shape, conditions, device).cond
    before = noise.clone()
    most = objective.max_steps
    for steps in {1, min(3, most), min(2, most) if conditions else most}:
        for guidance in (1.0, 1.5) if steps < 4 else (1.0,):
            made = objective.sample(network, noise, cond, steps, guidance=guidance)
            assert made.shape == noise.shape
            assert made.dtype == noise.dtype
            assert made.isfinite().all()
            assert not made.requires_grad
            assert not torch.equal(made, noise)
    assert torch.equal(noise, before)


@every_variant
def test_samples_follow_from_their_noise_and_label_alone(objective: Objective) -> None:
    network = pair(SMALL["mlp"], (2,), CONDITIONS["label"])[0].double()
    noise, cond = torch.randn(4, 2, dtype=torch.float64), {"label": torch.tensor([0, 1, 2, 0])}
    steps = min(3, objective.max_steps)
    made = objective.sample(network, noise, cond, steps)
    torch.manual_seed(99)
    for row in range(4):
        one = slice(row, row + 1)
        alone = objective.sample(network, noise[one], {"label": cond["label"][one]}, steps)
        torch.testing.assert_close(alone, made[one], rtol=0, atol=1e-12)


@every_variant
def test_samples_differ_by_their_noise_where_the_method_says_so(objective: Objective) -> None:
    network = pair(SMALL["mlp"], (2,), CONDITIONS["label"])[0]
    made = objective.sample(network, torch.randn(4, 2), {"label": torch.ones(4, dtype=torch.int64)}, 1)
    assert torch.equal(made, made[:1].expand(4, 2)) != objective.is_generative


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


class Counted(Network):
    """A network that counts its passes as the budget of a comparison does: 1 a row, and 3 with its gradient."""

    def __init__(self, network: Network, count: list[int]) -> None:
        super().__init__()
        self.network, self.encode, self.count = network, network.encode, count  # type: ignore[method-assign]

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        self.count.append(len(x) * (3 if torch.is_grad_enabled() else 1))
        return self.network(x, t, d, context)


RANDOM = {"shortcut": 4, "live-reflow": 16}
"""the methods that draw how many rows are bootstrapped, and the passes that such a row costs more than another"""


@pytest.mark.parametrize("objective", [pytest.param(value, id=name) for name, value in (VARIANTS | ONE_STEP).items()])
def test_evaluations_are_those_counted(objective: Objective) -> None:
    """On average, over all stages of training and the random shares of the rows."""
    rows, draws, count = 50, 28 * (4 if name_of(objective) in RANDOM else 1), []
    network, target_net, teacher = (Counted(SMALL["mlp"].build((2,), CONDITIONS["label"]), count) for _ in range(3))
    for draw in range(draws):
        batch = batch_of(rows, (2,), CONDITIONS["label"])
        objective.losses(network, target_net, batch, progress=draw / draws, teacher=teacher)
    # A fraction that is not a whole number of rows is rounded at random: by half a row's worth of passes, at most.
    spread = RANDOM.get(name_of(objective), 0) / 2 / rows
    assert abs(sum(count) / rows / draws - objective.nfe_per_example) <= 5 * spread / math.sqrt(draws) + 1e-9


def name_of(objective: Objective) -> str:
    return next(name for name, cls in OBJECTIVES.items() if cls is type(objective))


@every_network
@every_condition
def test_networks(config: NetworkConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
    network = wake(config.build(shape, conditions))
    x, cond = torch.randn(5, *shape), batch_of(5, shape, conditions).cond
    t, d = torch.tensor([0.0, 0.5, 127 / 128, 1.0, 0.25]), torch.tensor([1.0, 0.5, 1 / 128, 0.0, 0.0])
    for drop in (None, torch.zeros(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)):
        velocity = network(x, t, d, network.encode(cond, drop))
        assert velocity.shape == x.shape
        assert velocity.dtype == x.dtype
        assert velocity.isfinite().all()
    again = config.build(shape, conditions)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(x, t, d, again.encode(cond, drop)), velocity)
    assert math.prod(shape) < sum(parameter.numel() for parameter in network.parameters())
