"""When a method is marked as the best: Welch's t test against every other one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from shortcut_models.compare.winner import is_above, winner


def test_the_test_is_that_of_scipy() -> None:
    draw = np.random.default_rng(0)
    for n, m in [(2, 2), (3, 3), (3, 5), (5, 2)] * 25:
        a, b = draw.normal(draw.uniform(0, 3), draw.uniform(0.1, 1), n), draw.normal(0, draw.uniform(0.1, 1), m)
        theirs = ttest_ind(a, b, equal_var=False)
        assert is_above(a.tolist(), b.tolist()) == (theirs.pvalue < 0.05 and a.mean() > b.mean())


def test_a_case_by_hand() -> None:
    """Three seeds each, deviation s: t = gap / (s sqrt(2/3)) with 4 degrees of freedom, of which 2.776 is the limit."""
    limit = 2.7764451 * math.sqrt(2 / 3)  # deviations
    zero = [-1.0, 0.0, 1.0]
    assert is_above([x + 1.001 * limit for x in zero], zero)
    assert not is_above([x + 0.999 * limit for x in zero], zero)
    assert not is_above(zero, [x + 1.001 * limit for x in zero])


def test_one_seed_never_has_a_winner() -> None:
    assert winner("accuracy", {"a": [1.0], "b": [0.0]}) is None


@pytest.mark.parametrize(
    ("measure", "best"),
    [
        ("accuracy", "c"),  # higher is better
        ("pixel_frechet", "a"),  # lower is better
        ("distance_to_finest", None),  # does not rank methods
        ("something_else", None),  # of which nothing is known
    ],
)
def test_the_direction_of_a_measure(measure: str, best: str | None) -> None:
    values = {"a": [0.10, 0.11, 0.12], "b": [0.5, 0.51, 0.52], "c": [0.90, 0.91, 0.92]}
    assert winner(measure, values) == best


def test_the_best_must_be_better_than_each_other_one() -> None:
    far, near, tied = [0.50, 0.51, 0.52], [0.90, 0.91, 0.92], [0.85, 0.91, 0.96]
    assert winner("accuracy", {"far": far, "near": near}) == "near"
    assert winner("accuracy", {"far": far, "near": near, "tied": tied}) is None


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ({"a": [1.0, 1.0], "b": [0.5, 0.5]}, "a"),  # no seed changes anything
        ({"a": [1.0, 1.0], "b": [1.0, 1.0]}, None),
        ({"a": [1.0, 1.0, 1.0], "b": [0.5, 0.51, 0.52]}, "a"),  # one without a spread
        ({"a": [0.9, 0.91, 0.92]}, None),  # nothing to be better than
        ({}, None),
        ({"a": [0.9, 0.91, 0.92], "b": [math.nan] * 3}, None),  # nor where the others have no value
        ({"a": [0.9, 0.91, 0.92], "b": [math.nan] * 3, "c": [0.1, 0.11, 0.12]}, "a"),
        ({"a": [0.9, 0.91, math.nan], "c": [0.1, 0.11, 0.12]}, None),  # one that sometimes fails cannot be a winner
        ({"a": [0.9, 0.91, 0.92], "c": [0.1, 0.11, math.nan]}, "a"),
        ({"a": [0.9, 0.91, 0.92], "c": [0.1, math.nan, math.nan]}, None),  # one value shows no spread
        ({"a": [0.9, 0.91, 0.92], "c": [0.1]}, None),  # as with seeds that are missing
        ({"a": [0.9, 0.91, 0.92], "c": [-math.inf] * 3, "d": [0.1, 0.11, 0.12]}, "a"),
    ],
)
def test_special_cases(values: dict[str, list[float]], best: str | None) -> None:
    assert winner("accuracy", values) == best


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("methods", [2, 9])
def test_equal_methods_rarely_have_a_winner(seeds: int, methods: int) -> None:
    """At most 5 % of the time, however many methods there are: 1,000 comparisons of equal ones."""
    draw = np.random.default_rng(seeds)
    marked = sum(
        winner("accuracy", {str(k): row.tolist() for k, row in enumerate(draw.normal(0, 1, (methods, seeds)))})
        is not None
        for _ in range(1000)
    )
    assert marked / 1000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_a_clear_difference_is_marked() -> None:
    draw = np.random.default_rng(0)
    values = {"a": draw.normal(0.9, 0.01, 3).tolist(), **{str(k): draw.normal(0.5, 0.01, 3).tolist() for k in range(8)}}
    assert winner("accuracy", values) == "a"
