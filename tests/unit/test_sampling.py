"""Samplers against networks whose flow is known in closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from helpers.oracle import ClassOracle, GaussianOracle, Spy, random_network
from shortcut_models.objectives import Shortcut
from shortcut_models.path import sampling_times
from shortcut_models.sampling import euler, last

EVENTS = [(2,), (3, 8, 8), (16, 7)]
WEIGHTS = [0.0, 0.5, 1.0, 1.5, 4.0]


def gaussian(event: tuple[int, ...] = (2,), dtype: torch.dtype = torch.float64) -> tuple[GaussianOracle, Tensor]:
    """An oracle and some noise."""
    mean = torch.linspace(-1, 1, math.prod(event), dtype=dtype).reshape(event)
    return GaussianOracle(mean, 0.3), torch.randn(5, *event, dtype=dtype)


def classes() -> tuple[ClassOracle, Tensor, dict[str, Tensor]]:
    """An oracle of three classes, some noise, and labels."""
    means = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]], dtype=torch.float64)
    oracle = ClassOracle(means, torch.tensor([0.25, -0.5], dtype=torch.float64), 0.4)
    return oracle, torch.randn(6, 2, dtype=torch.float64), {"label": torch.tensor([0, 1, 2, 2, 1, 0])}


def random_mlp() -> tuple[Spy, Tensor, dict[str, Tensor]]:
    """A random conditional network, recorded."""
    return Spy(random_network()), *classes()[1:]


def test_the_oracle_is_the_flow_of_the_conditional_expectation() -> None:
    mean, std, start = 0.7, 0.3, np.array([-1.5, 0.0, 0.4, 2.0])

    def velocity(t: float, x: np.ndarray) -> np.ndarray:
        """E[data - noise | x_t = x], by conditioning jointly Gaussian variables."""
        variance = (1 - t) ** 2 + (t * std) ** 2
        return mean + t * std**2 / variance * (x - t * mean) - (1 - t) / variance * (x - t * mean)

    times = [0.0, 0.125, 0.5, 0.75, 1.0]
    exact = solve_ivp(velocity, (0, 1), start, t_eval=times, rtol=1e-10, atol=1e-12).y
    oracle, points = GaussianOracle(torch.tensor([mean], dtype=torch.float64), std), torch.tensor(exact.T)[..., None]
    for (i, t), (j, end) in itertools.combinations(enumerate(times), 2):
        d = torch.full((4,), end - t)
        jump = points[i] + d[:, None] * oracle(points[i], torch.full((4,), t), d)
        torch.testing.assert_close(jump, points[j], rtol=0, atol=1e-8)
    for i, t in enumerate(times):
        instant = oracle(points[i], torch.full((4,), t), torch.zeros(4))
        np.testing.assert_allclose(instant[:, 0], velocity(t, exact[:, i]), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_every_budget_makes_the_same_samples(dtype: torch.dtype, tolerance: float) -> None:
    oracle, noise = gaussian(dtype=dtype)
    for steps in range(1, 129):
        made = Shortcut().sample(oracle, noise, {}, steps)
        assert made.dtype == dtype
        torch.testing.assert_close(made, oracle.mean + 0.3 * noise, rtol=0, atol=tolerance)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("max_steps", [1, 2, 16, 256])
def test_every_grid_and_event_makes_the_same_samples(max_steps: int, event: tuple[int, ...]) -> None:
    oracle, noise = gaussian(event)
    for steps in {1, 2, 3, 11, 16, 129, 255, 256} & set(range(max_steps + 1)):
        made = Shortcut(max_steps=max_steps).sample(oracle, noise, {}, steps)
        torch.testing.assert_close(made, oracle.mean + 0.3 * noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize("event", EVENTS)
def test_euler_yields_every_point_of_the_way(event: tuple[int, ...]) -> None:
    oracle, noise = gaussian(event)
    before, times = noise.clone(), sampling_times(11, 128)
    points = list(euler(oracle, noise, {}, times))
    assert len(points) == 11
    for x, t in zip(points, times[1:], strict=True):
        exact = t * oracle.mean + oracle.sigma(torch.tensor(t, dtype=torch.float64)) * noise
        torch.testing.assert_close(x, exact, rtol=0, atol=1e-9)
    assert torch.equal(noise, before)
    assert torch.equal(last(iter(points)), points[-1])


@pytest.mark.parametrize(
    ("step_cond", "sizes"), [(None, [0.5, 0.25, 0.25]), (0.0, [0.0] * 3), (1 / 128, [1 / 128] * 3)]
)
def test_what_the_network_is_conditioned_on(step_cond: float | None, sizes: list[float]) -> None:
    spy = Spy()
    last(euler(spy, torch.randn(4, 2), {}, [0.0, 0.5, 0.75, 1.0], step_cond=step_cond))
    assert [call.t.tolist() for call in spy.calls] == [[t] * 4 for t in (0.0, 0.5, 0.75)]
    assert [call.d.tolist() for call in spy.calls] == [[d] * 4 for d in sizes]
    assert all(call.t.dtype == call.d.dtype == torch.float32 for call in spy.calls)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("steps", [1, 3, 128])
def test_guidance_of_gaussians_moves_the_mean_on_a_line(weight: float, steps: int) -> None:
    """The oracle is affine in its mean, so that guidance extrapolates the mean and leaves the spread."""
    oracle, noise, cond = classes()
    mean = oracle.mean + weight * (oracle.means[cond["label"]] - oracle.mean)
    made = Shortcut().sample(oracle, noise, cond, steps, guidance=weight)
    torch.testing.assert_close(made, mean + 0.4 * noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_guidance_equals_two_separate_passes(weight: float) -> None:
    spy, noise, cond = random_mlp()
    made = Shortcut().sample(spy, noise, cond, 4, guidance=weight)
    network, x = spy.network, noise
    assert network is not None
    none, all_rows = torch.zeros(6, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
    with torch.no_grad():
        for i in range(4):
            t, d = torch.full((6,), i / 4), torch.full((6,), 1 / 4)
            conditional = network(x, t, d, network.encode(cond, none))
            unconditional = network(x, t, d, network.encode(cond, all_rows))
            x = x + ((1 - weight) * unconditional + weight * conditional) / 4
    torch.testing.assert_close(made, x, rtol=0, atol=1e-12)
    rows = 6 if weight in (0, 1) else 12
    assert [len(call.x) for call in spy.calls] == [rows] * 4
    assert len(spy.drops) == 1  # conditions are encoded once a sample, not once a step


def test_guidance_without_conditions_is_none() -> None:
    oracle, noise = gaussian()
    spy = Spy(oracle)
    made = Shortcut().sample(spy, noise, {}, 2, guidance=3.0)
    torch.testing.assert_close(made, oracle.mean + 0.3 * noise)
    assert [len(call.x) for call in spy.calls] == [5, 5]


@pytest.mark.parametrize("weight", [1.0, 1.5])
def test_a_sample_does_not_depend_on_its_batch(weight: float) -> None:
    spy, noise, cond = random_mlp()
    together = Shortcut().sample(spy, noise, cond, 3, guidance=weight)
    for row in range(6):
        one = slice(row, row + 1)
        alone = Shortcut().sample(spy, noise[one], {"label": cond["label"][one]}, 3, guidance=weight)
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-12)


def test_sampling_keeps_no_graph_and_leaves_the_caller_its_gradients() -> None:
    spy, noise, cond = random_mlp()
    for x in euler(spy, noise, cond, [0.0, 0.5, 1.0], guidance=2.0):
        assert not x.requires_grad
        assert torch.is_grad_enabled()
