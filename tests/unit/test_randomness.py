"""Randomness as a function of its place."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats

from shortcut_models.randomness import generator, sample_noise, seed_of

SHAPES = [(2,), (1, 8, 8), (16, 7)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_has_the_same_noise_in_any_batch(shape: tuple[int, ...]) -> None:
    whole = sample_noise(7, range(20), shape)
    assert whole.shape == (20, *shape)
    assert whole.dtype == torch.float32
    for size in (1, 3, 20):
        parts = [sample_noise(7, range(20)[i : i + size], shape) for i in range(0, 20, size)]
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(sample_noise(7, [13, 2, 13], shape), whole[[13, 2, 13]])
    assert sample_noise(7, [], shape).shape == (0, *shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_is_standard_normal(shape: tuple[int, ...]) -> None:
    assert stats.kstest(sample_noise(0, range(1000), shape).flatten().numpy(), "norm").pvalue > 1e-5
    # And so from sample to sample, in each coordinate.
    assert stats.kstest(sample_noise(0, range(1000), shape).flatten(1)[:, 0].numpy(), "norm").pvalue > 1e-5


def test_samples_of_other_indices_and_seeds_are_uncorrelated() -> None:
    first, second = (sample_noise(seed, range(64), (4096,)) for seed in (0, 1))
    correlation = torch.corrcoef(torch.cat([first, second])) - torch.eye(128)
    assert correlation.abs().max() < 6 / math.sqrt(4096)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    sample_noise(0, range(3), (2,))
    generator(1, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_places_have_seeds_of_their_own() -> None:
    """Also places of different length, and those that end in zeros."""
    numbers = [0, 1, 2, 7, 2**31, 2**32]
    places = [place for length in range(1, 5) for place in itertools.product(numbers, repeat=length)]
    seeds = {seed_of(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    streams = {tuple(torch.rand(4, generator=generator(*place)).tolist()) for place in places}
    assert len(streams) == len(places)


def test_the_same_place_gives_the_same_numbers_in_every_version() -> None:
    """Recorded: a change here changes every sample and every resumed run."""
    assert (seed_of(0, 0), seed_of(3, 1, 4)) == (5903642253403033523, 4847483959148469130)
    torch.testing.assert_close(sample_noise(0, [0], (2,)), torch.tensor([[1.83762, -1.7832]]), rtol=0, atol=1e-5)
