"""The straight path and the dyadic grid on it."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from shortcut_models import path
from shortcut_models.errors import UserError

EVENTS = [(2,), (3, 4, 4), (16, 7)]


@pytest.mark.parametrize("event", EVENTS)
def test_the_path_runs_straight_from_noise_at_0_to_data_at_1(event: tuple[int, ...]) -> None:
    noise, data = torch.randn(2, 5, *event, dtype=torch.float64)
    ends = [path.interpolate(noise, data, torch.full((5,), t)) for t in (0.0, 0.25, 1.0)]
    assert torch.equal(ends[0], noise)
    torch.testing.assert_close(ends[1], 0.75 * noise + 0.25 * data)
    assert torch.equal(ends[2], data)


@pytest.mark.parametrize("event", EVENTS)
def test_a_step_along_the_velocity_stays_on_the_path(event: tuple[int, ...]) -> None:
    noise, data = torch.randn(2, 4, *event, dtype=torch.float64)
    t, d = torch.tensor([0.0, 0.25, 0.5, 0.75]), torch.tensor([1.0, 0.5, 0.25, 0.25])
    moved = path.step(path.interpolate(noise, data, t), d, path.velocity(noise, data))
    torch.testing.assert_close(moved, path.interpolate(noise, data, t + d), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_grid_is_exact(dtype: torch.dtype) -> None:
    level, nodes = torch.arange(8), torch.arange(129)
    sizes = path.step_size(level)
    assert sizes.dtype == torch.float32
    assert sizes.tolist() == [1 / 2**k for k in range(8)]
    assert torch.equal(sizes.to(dtype).float(), sizes)
    assert (nodes / 128).to(dtype).double().mul(128).tolist() == nodes.tolist()


@pytest.mark.parametrize("levels", [1, 4, 7, 8])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 6, 7, 8, 13, 64])
def test_every_level_has_its_share_of_the_rows(rows: int, levels: int) -> None:
    draws = 400
    counts = torch.zeros(draws, levels, dtype=torch.float64)
    for count in counts:
        drawn = path.stratified_levels(rows, levels)
        assert drawn.shape == (rows,)
        assert torch.equal(drawn, drawn.sort().values)
        count += torch.bincount(drawn, minlength=levels)  # fails where a level is out of range
    share, part = rows / levels, rows / levels % 1
    assert (counts - share).abs().max() < 1
    # A count is the share rounded up or down: at most 5 standard errors of such a coin from its mean.
    assert (counts.mean(0) - share).abs().max() <= 5 * (part * (1 - part) / draws) ** 0.5 + 1e-9


@pytest.mark.parametrize("largest", [False, True])
def test_levels_and_times_stay_in_range_at_the_ends_of_the_random_numbers(
    largest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rand(*size: int | tuple[int, ...], dtype: torch.dtype = torch.float32, **kwargs: object) -> torch.Tensor:
        value = torch.nextafter(torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype)) if largest else 0.0
        return torch.zeros(*size, dtype=dtype) + value

    monkeypatch.setattr(torch, "rand", rand)
    for rows in range(1, 300):
        levels = path.stratified_levels(rows, 7)
        assert levels.min() >= 0
        assert levels.max() <= 6
    level = torch.arange(8)
    assert torch.equal(path.grid_times(level), 1 - path.step_size(level) if largest else torch.zeros(8))


@pytest.mark.parametrize("level", range(8))
def test_times_are_uniform_over_the_multiples_of_the_step(level: int) -> None:
    t = path.grid_times(torch.full((6400,), level))
    node = t.double() * 2**level
    assert t.dtype == torch.float32
    assert torch.equal(node, node.round())
    counts = torch.bincount(node.long())
    assert len(counts) == 2**level  # no node past 1 - d, and the last one is reached
    assert level == 0 or stats.chisquare(counts.numpy()).pvalue > 1e-5


def test_three_steps_are_a_half_and_two_quarters() -> None:
    assert path.sampling_times(3, 128) == [0.0, 0.5, 0.75, 1.0]
    assert path.sampling_times(5, 8) == [0.0, 0.25, 0.5, 0.75, 0.875, 1.0]


@pytest.mark.parametrize("max_steps", [1, 2, 16, 128, 256])
def test_every_budget_is_made_of_trained_steps_at_trained_times(max_steps: int) -> None:
    for steps in range(1, max_steps + 1):
        times = path.sampling_times(steps, max_steps)
        sizes = [end - start for start, end in itertools.pairwise(times)]
        assert len(sizes) == steps
        assert (times[0], times[-1], sum(sizes)) == (0.0, 1.0, 1.0)
        assert set(sizes) <= {2.0**-k for k in range(max_steps.bit_length())}
        assert all((start / size).is_integer() for start, size in zip(times, sizes, strict=False))
        assert max(sizes) <= 2 * min(sizes)  # as even as powers of two can be
        if steps & (steps - 1) == 0:
            assert times == [i / steps for i in range(steps + 1)]


@pytest.mark.parametrize(("steps", "max_steps"), [(0, 128), (-1, 128), (129, 128), (2, 1), (17, 16)])
def test_numbers_of_steps_out_of_range_are_refused(steps: int, max_steps: int) -> None:
    with pytest.raises(UserError, match=f"from 1 to {max_steps}, not {steps}"):
        path.sampling_times(steps, max_steps)


def test_number_of_levels() -> None:
    assert [path.levels_of(2**k) for k in range(20)] == list(range(20))
