"""What each measure is called, what it means, and which way it is good."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..text import format_number

REAL = "_real"  # ending of a measure of real data, to which that of samples is compared


# How far measures are on the way from chance (0) to real data (1), for `standing`.
AT_CHANCE = 0.1
"""up to here a measure is at chance: the standard error of a fraction of 100 samples is half of it"""
NEAR_REAL = 0.8
"""from here on it is near real data: the recipe of digits, whose samples people take for real, is at .88 in its worst
measure in 1 step (recall), and the mean digits that flow matching makes in 1 step are at .42 (Fréchet distance)"""


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation or an episode returns."""

    name: str
    meaning: str = ""
    better: Literal["lower", "higher", ""] = ""
    """which way is good; "" for a measure from outside the package, of which nothing is known"""
    is_fraction: bool = False  # from 0 to 1: three decimals, and an axis that ends at 1
    is_quality: bool = True  # False for what only goes with the measures: times, settings, and values of real data
    chance: float | None = None  # value for what was not learned, where noise itself may have a better one
    ranks_methods: bool = True  # False where a method that learned nothing can have the best value

    @property
    def direction(self) -> str:
        """Which way is good, in words; "" where that is not known."""
        return f"{self.better} is better" if self.better else ""

    def format(self, value: float | None) -> str:
        """Return a value as text; fractions all have three decimals, so that they line up."""
        three = self.is_fraction and value is not None and math.isfinite(value)
        return f"{value:.3f}" if three else format_number(value)


METRICS = {entry.name: entry for entry in (
    Metric("accuracy", "fraction of samples in which a classifier of real data sees the requested label",
           "higher", is_fraction=True),
    Metric(f"accuracy{REAL}", "the same fraction among held-out real examples",
           "higher", is_fraction=True, is_quality=False),
    Metric("precision", "fraction of samples that are near real examples: samples look right",
           "higher", is_fraction=True, chance=0.0),
    Metric("recall", "fraction of real examples that are near samples: nothing is left out",
           "higher", is_fraction=True, chance=0.0),
    Metric("density", "how many real examples are near a sample; about 1 for real data", "higher",
           chance=0.0),
    Metric("coverage", "fraction of real examples with a sample nearby", "higher", is_fraction=True, chance=0.0),
    Metric("sliced_wasserstein", "distance to real points, seen from all sides in turn", "lower"),
    Metric("pixel_frechet", "Fréchet distance to real images, by Gaussians fitted to their pixels", "lower"),
    Metric("fid", "Fréchet distance to real images, by Gaussians fitted to features of the Inception network", "lower"),
    Metric("kid", "squared maximum mean discrepancy of these features, unbiased also with few samples", "lower"),
    Metric("action_error", "root mean square error of the actions that are carried out, as the network sees them",
           "lower"),
    Metric("first_action_error", "the same of the first action alone", "lower"),
    Metric("action_error_in_units", "root mean square error of the actions that are carried out, in their own units",
           "lower"),
    Metric("first_action_error_in_units", "the same of the first action alone", "lower"),
    Metric("distance_to_finest", "how far a sample is from that of the same noise in the most steps, on average and in "
           "standard deviations of the data", "lower", ranks_methods=False),
    Metric("seconds", "time spent on generating", "lower", is_quality=False),
    Metric("guidance", "weight of classifier-free guidance", is_quality=False),
)}  # fmt: skip
"""measures of samples, by name: all that the package's tasks and FID return"""

SCORES = {entry.name: entry for entry in (
    Metric("return", "sum of the rewards of an episode", "higher"),
    Metric("success", "fraction of episodes in which the task was solved", "higher", is_fraction=True),
    Metric("coverage", "fraction of the goal that is covered", "higher", is_fraction=True),
)}  # fmt: skip
"""scores of episodes, by name: all that the package's environments return"""


def chance_of(name: str, measured: float) -> float:
    """Return the value of a measure for what was not learned; measured: that of noise."""
    known = metric(name).chance
    return measured if known is None else known


def standing(name: str, value: float, chance: float, real: float) -> float | None:
    """Return how far a measure is on the way from chance (0) to real data (1); None where that says nothing.

    Distances fall by factors, from many times that of real data, so for them the way is that of the logarithm.
    """
    found = metric(name)
    if not (found.is_quality and found.ranks_methods and all(map(math.isfinite, (value, chance, real)))):
        return None
    if found.better == "higher" and real > chance:
        return (value - chance) / (real - chance)
    if found.better == "lower" and 0 < real < chance:
        return math.log(chance / max(value, real)) / math.log(chance / real)
    return None


def metric(name: str) -> Metric:
    """Return the entry of a measure of samples; a neutral one for a measure from outside the package."""
    return METRICS.get(name) or Metric(name, is_quality=not name.endswith(REAL))


def score(name: str) -> Metric:
    """Return the entry of a score of episodes; one from outside the package has decimals, as it may be a fraction."""
    return SCORES.get(name) or Metric(name, is_fraction=True)


def quality_measures(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the names of the measures of quality in an evaluation."""
    names = dict.fromkeys(name for row in evaluation["steps"].values() for name in row)
    return [name for name in names if metric(name).is_quality]
