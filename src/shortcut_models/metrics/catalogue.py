"""What each measure is called, what it means, and which way it is good."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..text import format_number

REAL = "_real"  # ending of a measure of real data, to which that of samples is compared


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation or an episode returns."""

    name: str
    meaning: str = ""
    better: Literal["lower", "higher", ""] = ""
    """which way is good; "" for a measure from outside the package, of which nothing is known"""
    is_fraction: bool = False  # from 0 to 1: three decimals, and an axis that ends at 1
    is_quality: bool = True  # False for what only goes with the measures: times, settings, and values of real data
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
           "higher", is_fraction=True),
    Metric("recall", "fraction of real examples that are near samples: nothing is left out",
           "higher", is_fraction=True),
    Metric("density", "how many real examples are near a sample; about 1 for real data", "higher"),
    Metric("coverage", "fraction of real examples with a sample nearby", "higher", is_fraction=True),
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
