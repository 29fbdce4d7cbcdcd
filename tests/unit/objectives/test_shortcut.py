"""The shortcut objective: what the network sees, and what it is asked for."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from helpers.oracle import Call, ClassOracle, GaussianOracle, Spy, batch_of, random_network
from shortcut_models.base import Batch, Losses, Network
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.sampling import euler, last

BATCH_SIZES = [1, 2, 3, 4, 5, 8, 16, 32, 64, 128, 256]


def spied(
    objective: Shortcut, batch: Batch, net: Network | None = None, target_net: Network | None = None
) -> tuple[Losses, Spy, Spy]:
    """The losses, and the records of the network and the target_net."""
    spy, teacher_spy = Spy(net), Spy(target_net)
    return objective.losses(spy, teacher_spy, batch), spy, teacher_spy


def reference_losses(objective: Shortcut, net: Network, target_net: Network, batch: Batch, seen: Call) -> Tensor:
    """The loss of each row that a network saw, made one row and one pass at a time from the paper's equations."""
    assert seen.label is not None
    losses = []
    for row in range(len(batch)):
        x, t, d, data = seen.x[row, None], seen.t[row, None], seen.d[row, None], batch.data[row, None]
        cond = {"label": batch.cond["label"][row, None]}
        lost, always = seen.label[row, None] < 0, torch.tensor([True])
        if d == 1 / objective.max_steps:
            noise = (x - t * data) / (1 - t)
            target = data - noise
        else:
            half = d / 2
            weight = objective.guidance if half == 1 / objective.max_steps else 1.0

            def velocity(x: Tensor, t: Tensor, half: Tensor = half, weight: float = weight) -> Tensor:
                with_label = target_net(x, t, half, target_net.encode(cond, lost))  # noqa: B023
                without = target_net(x, t, half, target_net.encode(cond, always))  # noqa: B023
                return (1 - weight) * without + weight * with_label

            first = velocity(x, t)
            target = (first + velocity(x + half * first, t + half)) / 2
        error = net(x, t, d, net.encode(cond, lost)) - target.detach()
        losses.append((error**2).sum() / error.numel())
    return torch.stack(losses)


@pytest.mark.parametrize("guidance", [1.0, 0.0, 1.5])
@pytest.mark.parametrize(("max_steps", "rows"), [(1, 5), (2, 9), (16, 1), (16, 30), (128, 4), (128, 64)])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_losses_and_gradients_equal_a_reference_written_row_by_row(
    guidance: float, max_steps: int, rows: int, share: float
) -> None:
    """With a target_net unlike the network: targets are the target_net's, and no row weighs more than another."""
    objective = Shortcut(max_steps=max_steps, bootstrap_fraction=share, label_dropout=0.3, guidance=guidance)
    net, target_net, batch = random_network(), random_network(), batch_of(rows)
    losses, spy, _ = spied(objective, batch, net, target_net)
    assert len(spy.calls) == 1
    expected = reference_losses(objective, net, target_net, batch, spy.calls[0])
    torch.testing.assert_close(losses.per_example, expected.float(), rtol=1e-5, atol=1e-6)

    parameters = list(net.parameters())
    got = torch.autograd.grad(losses.per_example.mean(), parameters, allow_unused=True, retain_graph=True)
    want = torch.autograd.grad(expected.mean(), parameters, allow_unused=True)
    for mine, reference in zip(got, want, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=1e-6)
    losses.per_example.sum().backward()
    assert all(parameter.grad is None for parameter in target_net.parameters())


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_network_that_is_its_own_teacher_has_the_gradient_of_a_frozen_copy(bfloat16: bool) -> None:
    """Casts of weights that autocast keeps from the target_net's passes must not reach the network's own pass."""
    network, batch = random_network(0.1).float(), batch_of(64, dtype=torch.float32)
    gradients = []
    for target_net in (network, copy.deepcopy(network)):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = Shortcut().losses(network, target_net, batch).per_example.mean()
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    for mine, frozen in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, frozen)


@pytest.mark.parametrize("rows", BATCH_SIZES)
def test_levels_and_times_that_the_network_sees(rows: int) -> None:
    objective, draws = Shortcut(), max(30, 600 // rows)
    flow, levels, counts = 0, torch.zeros(7), []
    for _ in range(draws):
        losses, spy, target_net = spied(objective, batch_of(rows))
        assert losses.per_example.shape == (rows,)
        (seen,) = spy.calls
        assert torch.equal((seen.t / seen.d).frac(), torch.zeros(rows))
        assert (seen.t + seen.d).max() <= 1
        bootstrap = seen.d > 1 / 128
        counts.append(int(bootstrap.sum()))
        flow += rows - counts[-1]
        assert set(seen.d[~bootstrap].tolist()) <= {1 / 128}
        levels += torch.bincount(-seen.d[bootstrap].log2().long(), minlength=7)
        if counts[-1]:
            first, second = target_net.calls
            x, t, half = seen.x[bootstrap], seen.t[bootstrap], seen.d[bootstrap] / 2
            assert torch.equal(first.x, x)
            assert torch.equal(first.t, t)
            assert torch.equal(second.t, t + half)
            assert torch.equal(first.d, half)
            assert torch.equal(second.d, half)
        else:
            assert not target_net.calls
    # A quarter of the rows, or that rounded up or down where it is not a whole number.
    assert max(counts) - min(counts) <= (rows % 4 > 0)
    wanted, chance = draws * rows / 4, rows % 4 / 4
    assert abs(sum(counts) - wanted) <= 5 * (draws * chance * (1 - chance)) ** 0.5
    # Every level, d = 1 included, has its share whatever the batch size.
    assert stats.chisquare(levels.numpy()).pvalue > 1e-5


def test_times_are_spread_over_the_whole_grid() -> None:
    seen = [spied(Shortcut(), batch_of(256))[1].calls[0] for _ in range(60)]
    t, d = torch.cat([call.t for call in seen]), torch.cat([call.d for call in seen])
    for level in (1, 2, 3, 7):
        times = t[d == 2.0**-level]
        counts = torch.bincount((times * 2**level).long(), minlength=2**level)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-5


@pytest.mark.parametrize("max_steps", [1, 2, 16, 256])
def test_other_grids(max_steps: int) -> None:
    for _ in range(20):
        _, spy, target_net = spied(Shortcut(max_steps=max_steps), batch_of(64))
        (seen,) = spy.calls
        assert torch.equal((seen.t / seen.d).frac(), torch.zeros(64))
        assert (seen.t + seen.d).max() <= 1
        assert set(seen.d.tolist()) <= {2.0**-k for k in range(max_steps.bit_length())}
        assert int((seen.d == 1 / max_steps).sum()) == (64 if max_steps == 1 else 48)
        assert len(target_net.calls) == (0 if max_steps == 1 else 2)


@pytest.mark.parametrize(("share", "bootstrap"), [(0.0, 0), (0.5, 16), (1.0, 32)])
def test_share_of_bootstrap_rows(share: float, bootstrap: int) -> None:
    losses, spy, target_net = spied(Shortcut(bootstrap_fraction=share), batch_of(32))
    assert int((spy.calls[0].d > 1 / 128).sum()) == bootstrap
    assert [len(call.x) for call in target_net.calls] == ([bootstrap] * 2 if bootstrap else [])
    assert losses.per_example.isfinite().all()


def test_the_points_are_data_mixed_with_fresh_normal_noise() -> None:
    batch = batch_of(4096)
    noises = []
    for _ in range(2):
        (seen,) = spied(Shortcut(), batch)[1].calls
        t = seen.t[:, None]
        noises.append((seen.x - t * batch.data) / (1 - t))
        for rows in (seen.d > 1 / 128, seen.d == 1 / 128):
            assert stats.kstest(noises[-1][rows].flatten().numpy(), "norm").pvalue > 1e-5
    first, second = (noise.flatten() for noise in noises)
    for other in (second, batch.data.flatten(), first.roll(1), first.roll(2)):
        assert abs(torch.corrcoef(torch.stack([first, other]))[0, 1]) < 5 / math.sqrt(len(first))


@pytest.mark.parametrize("event", [(2,), (3, 8, 8), (16, 7)])
@pytest.mark.parametrize("max_steps", [2, 16, 128, 256])
def test_the_bootstrap_targets_of_the_oracle_are_the_oracle(event: tuple[int, ...], max_steps: int) -> None:
    oracle = GaussianOracle(torch.linspace(-1, 1, math.prod(event), dtype=torch.float64).reshape(event), 0.3)
    objective, batch = Shortcut(max_steps=max_steps), batch_of(256, event)
    draws = objective.draw(batch)
    x, target = objective.targets(oracle, batch, draws)
    n, d = draws.bootstrap, torch.exp2(-draws.level.double())
    assert n == 64
    torch.testing.assert_close(target[:n], oracle(x, draws.t, d)[:n], rtol=0, atol=1e-9)
    losses = objective.losses(oracle, oracle, batch).per_example
    assert losses[:n].max() < 1e-12
    assert losses[n:].min() > 1e-6


@pytest.mark.parametrize("guidance", [0.0, 1.0, 1.5, 3.0])
def test_guided_targets_of_gaussians_have_their_mean_moved_on_a_line(guidance: float) -> None:
    """And only where the half-step is the finest; elsewhere the targets are not guided."""
    means = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]], dtype=torch.float64)
    oracle = ClassOracle(means, torch.tensor([0.25, -0.5], dtype=torch.float64), 0.4)
    objective, batch = Shortcut(guidance=guidance, label_dropout=0.0, bootstrap_fraction=1.0), batch_of(70)
    draws = objective.draw(batch)
    d = torch.exp2(-draws.level.double())
    weight = torch.where(d == 2 / 128, guidance, 1.0)[:, None]
    assert int((d == 2 / 128).sum()) == 10
    mean = oracle.mean + weight * (means[batch.cond["label"]] - oracle.mean)
    x, target = objective.targets(oracle, batch, draws)
    torch.testing.assert_close(target, oracle(x, draws.t, d, mean), rtol=0, atol=1e-9)


@pytest.mark.parametrize("rows", [4, 7, 56, 256])
@pytest.mark.parametrize("guidance", [1.0, 0.0, 1.5])
def test_guidance_costs_rows_only_where_the_half_step_is_the_finest(guidance: float, rows: int) -> None:
    seen_some = False
    for _ in range(12):
        batch = batch_of(rows)
        objective = Shortcut(guidance=guidance, bootstrap_fraction=0.5, label_dropout=0.0)
        _, spy, target_net = spied(objective, batch, None, random_network())
        (seen,) = spy.calls
        bootstrap = seen.d > 1 / 128
        finest = seen.d == 2 / 128
        extra = int(finest.sum()) if guidance != 1 else 0
        seen_some |= extra > 0
        assert len(target_net.drops) == 1
        assert len(target_net.calls) == (2 if bootstrap.any() else 0)
        for call in target_net.calls:
            assert len(call.x) == int(bootstrap.sum()) + extra
            assert call.label is not None
            assert torch.equal(call.d[call.label < 0], torch.full((extra,), 1 / 128))
            assert int((call.d == 1 / 128).sum()) == int(finest.sum()) + extra
        if extra:  # both halves of a guided row are asked about the same point, also in the second half-step
            for call in target_net.calls:
                dropped_rows = call.label < 0
                pairs = [
                    (x, t) for x, t in zip(call.x[dropped_rows].tolist(), call.t[dropped_rows].tolist(), strict=True)
                ]
                known = [
                    (x, t) for x, t in zip(call.x[~dropped_rows].tolist(), call.t[~dropped_rows].tolist(), strict=True)
                ]
                assert all(pair in known for pair in pairs)
    assert seen_some == (guidance != 1)


@pytest.mark.parametrize("dropout", [0.0, 0.1, 1.0])
def test_labels_reach_network_and_teacher_less_those_dropped(dropout: float) -> None:
    dropped, total = torch.zeros(2), torch.zeros(2)
    for _ in range(20):
        batch = batch_of(400)
        _, spy, target_net = spied(Shortcut(label_dropout=dropout), batch)
        (seen,), (first, second) = spy.calls, target_net.calls
        assert seen.label is not None
        lost, bootstrap = seen.label < 0, seen.d > 1 / 128
        assert torch.equal(seen.label[~lost], batch.cond["label"][~lost])
        for call in (first, second):
            assert call.label is not None
            assert torch.equal(call.label, seen.label[bootstrap])
        dropped += torch.stack([lost[bootstrap].sum(), lost[~bootstrap].sum()])
        total += torch.stack([bootstrap.sum(), (~bootstrap).sum()])
    spread = 5 * (dropout * (1 - dropout) / total).sqrt()
    assert ((dropped / total - dropout).abs() <= spread).all()


def test_the_log_holds_the_loss_of_each_step_size() -> None:
    losses, spy, _ = spied(Shortcut(), batch_of(256), random_network(), random_network())
    seen, loss = spy.calls[0].d, losses.per_example.detach()
    assert set(losses.logs) == {"flow"} | {f"d=1/{2**k}" for k in range(7)}
    for name, value in losses.logs.items():
        assert not value.requires_grad
        d = 1 / 128 if name == "flow" else 1 / int(name.removeprefix("d=1/"))
        assert torch.equal(value[~value.isnan()], loss[seen == d])


@pytest.mark.long
def test_it_learns_the_flow_of_a_gaussian_in_one_step_and_in_many() -> None:
    """The finest steps learn the instantaneous velocity, so 8 Euler steps along it are what every budget must match."""
    mean, std = torch.tensor([1.0, -0.5]), torch.tensor([0.2, 0.6])
    network = MLPConfig(width=48, depth=1, condition_width=32).build((2,), {})
    target_net = copy.deepcopy(network)
    objective = Shortcut(max_steps=8, bootstrap_fraction=0.5)
    optimiser, steps = torch.optim.AdamW(network.parameters(), weight_decay=0.0, fused=True), 400
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        objective.losses(network, target_net, Batch(mean + std * torch.randn(256, 2))).per_example.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            for slow, fast in zip(target_net.parameters(), network.parameters(), strict=True):
                slow.lerp_(fast, 0.1)
    noise = torch.randn(2000, 2)
    exact = last(euler(GaussianOracle(mean, std), noise, {}, [i / 8 for i in range(9)], step_cond=0.0))
    for budget in range(1, 9):
        error = objective.sample(network, noise, {}, budget) - exact
        assert error.square().mean().sqrt() < 0.04
