"""Multistep consistency sampling and diffusion, against Gaussians for which the exact network is known."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from helpers.oracle import Call, ClassOracle, GaussianOracle, Spy, column, wake
from helpers.runs import POINTS, shortcut
from shortcut_models.base import Batch, Network
from shortcut_models.errors import UserError
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import ConsistencyTraining, Diffusion, diffusion
from shortcut_models.sampling import renoise

MEAN, STD = torch.tensor([1.0, -0.5], dtype=torch.float64), torch.tensor([0.3, 0.8], dtype=torch.float64)
ROWS = 6000
TRAINED = 200
"""steps"""
every_pair = pytest.mark.parametrize(
    ("prediction", "schedule"), [("v", "cosine"), ("v", "linear"), ("epsilon", "linear")]
)


class ToTheEnd(Network):
    """The exact consistency function of an oracle."""

    def __init__(self, oracle: GaussianOracle) -> None:
        super().__init__()
        self.oracle = oracle
        self.encode = oracle.encode  # type: ignore[method-assign]

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        return self.oracle(x, t, 1 - t, context)


def noise_of(rows: int = ROWS) -> Tensor:
    return torch.randn(rows, 2, dtype=torch.float64)


def check_moments(made: Tensor, mean: Tensor, std: Tensor, bias: float = 0.0) -> None:
    """Mean and covariance, to five standard errors and a share of the deviation."""
    rows, z = len(made), (made - mean) / std
    assert (z.mean(0).abs() < 5 / math.sqrt(rows) + bias).all()
    covariance = z.T @ z / rows
    allowed = 5 * math.sqrt(2 / rows) + bias
    torch.testing.assert_close(covariance, torch.eye(2, dtype=z.dtype), rtol=0, atol=allowed)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_an_exact_consistency_model_samples_exactly(steps: int) -> None:
    made = ConsistencyTraining().sample(ToTheEnd(GaussianOracle(MEAN, STD)), noise_of(), {}, steps)
    check_moments(made, MEAN, STD)


def test_two_steps_keep_of_the_first_sample_what_the_noise_leaves() -> None:
    """Corr(first, second) = t std / sigma(t) at t = 1/2."""
    net, noise = ToTheEnd(GaussianOracle(MEAN, STD)), noise_of()
    first, second = (ConsistencyTraining().sample(net, noise, {}, steps) for steps in (1, 2))
    for i in range(2):
        found = torch.corrcoef(torch.stack([first[:, i], second[:, i]]))[0, 1]
        assert abs(found - STD[i] / math.hypot(1, STD[i])) < 5 / math.sqrt(ROWS)


def test_guidance_of_an_exact_consistency_model_moves_the_mean() -> None:
    means = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    oracle, labels = ClassOracle(means, MEAN, 0.4), torch.arange(ROWS) % 2
    made = ConsistencyTraining().sample(ToTheEnd(oracle), noise_of(), {"label": labels}, 2, guidance=1.5)
    for label in (0, 1):
        wanted = MEAN + 1.5 * (means[label] - MEAN)
        check_moments(made[labels == label], wanted, torch.full((2,), 0.4, dtype=torch.float64))


@pytest.mark.parametrize("objective", [ConsistencyTraining(), Diffusion(sampler="ddpm")])
def test_a_row_follows_from_its_own_noise(objective: Any) -> None:
    """Fresh noise on the way and all: neither the batch nor the global generator matters."""
    net = wake(MLPConfig(width=16, depth=1).build((2,), {})).double()
    noise = noise_of(6)
    made = objective.sample(net, noise, {}, 4)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    order = torch.tensor([3, 0, 5])
    torch.testing.assert_close(objective.sample(net, noise[order], {}, 4), made[order], rtol=0, atol=1e-12)
    assert torch.equal(torch.get_rng_state(), state)
    nudged = noise.clone()
    nudged[0, 0] += 1e-9
    other = objective.sample(net, nudged, {}, 4)
    torch.testing.assert_close(other[1:], made[1:], rtol=0, atol=1e-12)
    assert (other[0] - made[0]).abs().max() > 1e-3  # another noise, however near, has fresh noise of its own


def test_renoising_yields_each_point_and_ends_with_data() -> None:
    points = list(renoise(Spy(lambda call: -call.x), torch.ones(1, 2), {}, [0.0, 0.5, 1.0], step_cond=0.0))
    assert len(points) == 2
    assert torch.equal(points[1], points[0] / 2)  # x + (1 - 1/2) (-x), and no noise after it


def alpha_bar(schedule: str) -> np.ndarray:
    """The share of the data's variance that is left at each timestep, from the papers' formulas."""
    if schedule == "linear":  # Ho et al. 2020, section 4
        betas = np.linspace(1e-4, 0.02, 1000)
    else:  # Nichol and Dhariwal 2021, eq. 17
        f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - f[1:] / f[:-1], 0.999)
    return np.cumprod(1 - betas)


def coefficients(call: Call, schedule: str) -> tuple[Tensor, Tensor]:
    """alpha and sigma of x = alpha data + sigma noise, at the times that a network was given."""
    timestep = (1000 * (1 - call.t.double())).round().long() - 1
    kept = torch.from_numpy(alpha_bar(schedule))[timestep]
    return column(kept.sqrt(), call.x), column((1 - kept).sqrt(), call.x)


@every_pair
def test_the_target_is_what_the_papers_say(prediction: str, schedule: str) -> None:
    batch, fresh = Batch(noise_of(3000)), []

    def answer(call: Call) -> Tensor:
        alpha, sigma = coefficients(call, schedule)
        noise = (call.x - alpha * batch.data) / sigma
        fresh.append(noise[call.t < 0.9])  # near the end little of it is left
        return alpha * noise - sigma * batch.data if prediction == "v" else noise

    spy = Spy(answer)
    losses = Diffusion(prediction=prediction, schedule=schedule).losses(spy, Spy(), batch)  # type: ignore[arg-type]
    assert losses.per_example.max() < 1e-5
    (seen,) = spy.calls
    assert set((seen.t * 1000).round().tolist()) <= set(range(1000))
    assert stats.kstest(seen.t.numpy(), "uniform").pvalue > 1e-5
    assert stats.kstest(fresh[0].flatten().numpy(), "norm").pvalue > 1e-5


def exact(prediction: str, schedule: str) -> Spy:
    """The conditional expectation of the target where the data is N(MEAN, STD^2)."""

    def answer(call: Call) -> Tensor:
        alpha, sigma = coefficients(call, schedule)
        away = (call.x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        noise, data = sigma * away, MEAN + alpha * STD**2 * away
        return alpha * noise - sigma * data if prediction == "v" else noise

    return Spy(answer)


@every_pair
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_exact_predictor_samples_the_data(prediction: Any, schedule: Any, sampler: Any) -> None:
    """Though 1000 timesteps are not a multiple of 128 steps."""
    objective = Diffusion(prediction=prediction, schedule=schedule, sampler=sampler)
    rows, bias = (ROWS, 0.05) if sampler == "ddim" else (2000, 0.1)  # of the steps' size
    made = objective.sample(exact(prediction, schedule), noise_of(rows), {}, 128)
    check_moments(made, MEAN, STD, bias)


@every_pair
@pytest.mark.parametrize("steps", [2, 3, 7, 64, 128])
def test_ddim_follows_the_exact_predictor_as_worked_out_by_hand(prediction: Any, schedule: Any, steps: int) -> None:
    """Each step moves by E[data] and E[noise], which are straight lines in x: so the whole way is one, too."""
    kept = np.append(alpha_bar(schedule), 1.0)  # the end, all data, is at -1
    timesteps = np.round(np.arange(1000, 0, -1000 / steps)).astype(int) - 1
    slope, offset, mean, std = np.ones(2), np.zeros(2), MEAN.numpy(), STD.numpy()
    for here, there in zip(timesteps, [*timesteps[1:], -1], strict=True):
        variance = kept[here] * std**2 + 1 - kept[here]
        to_data = kept[here] ** 0.5 * std**2 / variance
        to_noise = (1 - kept[here]) ** 0.5 / variance
        step = kept[there] ** 0.5 * to_data + (1 - kept[there]) ** 0.5 * to_noise
        away = offset - kept[here] ** 0.5 * mean
        slope, offset = step * slope, kept[there] ** 0.5 * mean + step * away
    objective, noise = Diffusion(prediction=prediction, schedule=schedule), noise_of(20)
    made = objective.sample(exact(prediction, schedule), noise, {}, steps)
    torch.testing.assert_close(made, noise * torch.from_numpy(slope) + torch.from_numpy(offset), rtol=0, atol=1e-4)


@every_pair
def test_one_step_gives_the_mean_of_the_data(prediction: Any, schedule: Any) -> None:
    made = Diffusion(prediction=prediction, schedule=schedule).sample(exact(prediction, schedule), noise_of(50), {}, 1)
    left = math.sqrt(alpha_bar(schedule)[-1])  # what the first noise tells of the data
    torch.testing.assert_close(made, MEAN.expand(50, 2), rtol=0, atol=1e-3 + 5 * left)


def test_noise_is_not_predicted_where_it_tells_nothing_of_the_data() -> None:
    """A network that errs by a thousandth would be off by 20 in one step."""
    assert 1e-3 / math.sqrt(alpha_bar("cosine")[-1]) > 20
    with pytest.raises(UserError, match="prediction epsilon needs schedule linear"):
        Diffusion(prediction="epsilon")


@every_pair
def test_a_trained_network_samples_the_data(prediction: Any, schedule: Any) -> None:
    """Not the exact one: with a network's errors in what it predicts."""
    objective = Diffusion(prediction=prediction, schedule=schedule)
    net = MLPConfig(width=32, depth=1, condition_width=16).build((2,), {})
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(TRAINED):
        batch = Batch((MEAN + STD * noise_of(64)).float())
        objective.losses(net, net, batch).per_example.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    for steps in (128, 8):
        made = objective.sample(net, noise_of(1000).float(), {}, steps)
        assert (made.mean(0) - MEAN).abs().max() < 0.8
        assert (made.std(0) < 2 * STD).all()  # few steps narrow it


def test_the_schedule_is_made_once() -> None:
    """And what one call of `sample` sets in it is not seen by the next, nor by training."""
    objective = Diffusion(sampler="ddpm")
    assert objective.scheduler() is Diffusion(max_steps=8, sampler="ddim").scheduler()
    before = objective.scheduler().timesteps.clone()
    objective.sample(exact("v", "cosine"), noise_of(3), {}, 5)
    assert torch.equal(objective.scheduler().timesteps, before)


def test_more_steps_than_timesteps_are_refused() -> None:
    with pytest.raises(UserError, match="max-steps must be <= 1000, the timesteps of the schedule, not 1024"):
        Diffusion(max_steps=1024)


@pytest.mark.parametrize("command", ["train", "compare"])
def test_diffusion_without_diffusers_names_the_extra(
    command: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    diffusion._scheduler.cache_clear()
    for name in [name for name in sys.modules if name.startswith("diffusers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    if command == "train":
        words = (*POINTS, "--objective", "diffusion", "--run", tmp_path / "run")
    else:
        words = ("compare", "four-gaussians", "--objectives", "flow", "diffusion", "--out", tmp_path / "run")
    outcome = shortcut(*words)
    assert outcome.code == 2
    assert outcome.complaint == "shortcut: error: diffusion needs an extra: pip install 'shortcut-models[diffusion]'"
    assert command == "train" or not (tmp_path / "run").exists()
