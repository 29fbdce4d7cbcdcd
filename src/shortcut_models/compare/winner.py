"""Which method is best, where the spread over seeds says so."""

import math
import statistics
from collections.abc import Mapping, Sequence

from ..metrics.catalogue import metric

LEVEL = 0.05
"""probability of a mark, at most, where the best methods are equal"""
RULE = (
    "Bold: better than each other method by Welch's t test over the seeds, two-sided at 5 %. "
    "Without bold, the seeds do not separate the best from all others."
)
ONE_SEED = "One seed does not show what is chance, so no winner is marked: pass --seeds 3 or more."


def winner(measure: str, by_method: Mapping[str, Sequence[float]]) -> str | None:
    """Return the method that is better than each other one by more than the spread over seeds explains, or None.

    The method with the best mean is compared with each other one by Welch's t test (1947), two-sided at 5 %. No
    correction for the number of tests is needed, as all of them must succeed (an intersection-union test, Berger
    1982): where two methods are equally good and none is better, a mark requires that the test separates these two.

    A method with a value that is not finite cannot be marked, and its finite values are those that others must be
    better than. One with a single finite value cannot be separated from others; one without any is left out.

    Args:
        measure: its name; None is returned for one that has no better end, or does not rank methods.
        by_method: values of each seed, by method.
    """
    about = metric(measure)
    if not about.better or not about.ranks_methods:
        return None
    sign = -1.0 if about.better == "lower" else 1.0
    finite = {name: [sign * value for value in values if math.isfinite(value)] for name, values in by_method.items()}
    finite = {name: values for name, values in finite.items() if values}
    if len(finite) < 2:
        return None
    best = max(finite, key=lambda name: statistics.fmean(finite[name]))
    if len(finite[best]) < len(by_method[best]):
        return None
    others = [values for name, values in finite.items() if name != best]
    return best if all(is_above(finite[best], other) for other in others) else None


def is_above(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether the mean of a is above that of b by Welch's t test, two-sided at 5 %; never with one value."""
    from scipy.stats import ttest_ind

    if min(len(a), len(b)) < 2:
        return False
    gap = statistics.fmean(a) - statistics.fmean(b)
    if len({*a}) == len({*b}) == 1:
        return gap > 0  # no seed changes anything
    return gap > 0 and bool(ttest_ind(a, b, equal_var=False).pvalue < LEVEL)
