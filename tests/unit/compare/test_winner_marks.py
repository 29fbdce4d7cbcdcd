"""What the tables of a comparison mark, and what they say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shortcut_models.compare.comparison import Comparison
from shortcut_models.compare.report import markdown
from shortcut_models.recipes.library import RECIPES

VALUES = {
    "sliced_wasserstein": {
        4: {"flow": [0.90, 0.92, 0.91], "shortcut": [0.10, 0.11, 0.12]},
        1: {"flow": [0.10, 0.50, 0.30], "shortcut": [0.20, 0.40, 0.25]},
    }
}
SEPARATED = "Bold: better than each other method by Welch's t test over the seeds, two-sided at 5 %."
ALONE = "One seed does not show what is chance, so no winner is marked: pass --seeds 3 or more."


def table(seeds: int, methods: list[str]) -> str:
    recipe = replace(RECIPES["four-gaussians"])
    comparison = Comparison("four-gaussians", recipe, methods, 10**7, seeds, [4, 1], 10, Path("nowhere"))
    found = {
        f"{name}-seed{k}": {"cost": {"training": 3}, "training_seconds": 1.0} for name in methods for k in range(seeds)
    }
    few = {measure: {steps: {name: row[name][:seeds] for name in methods} for steps, row in by_steps.items()}
           for measure, by_steps in VALUES.items()}  # fmt: skip
    return markdown(comparison, few, found)


def test_the_winner_is_bold_where_the_seeds_separate_it() -> None:
    text = table(3, ["flow", "shortcut"])
    assert "| shortcut                  | **0.11 ± 0.01** |    0.283 ± 0.1 |".replace(" ", "") in text.replace(" ", "")
    assert text.count("**") == 2
    assert SEPARATED in text
    assert ALONE not in text


@pytest.mark.parametrize(("seeds", "methods", "said"), [(1, ["flow", "shortcut"], ALONE), (3, ["shortcut"], "")])
def test_nothing_is_bold_with_one_seed_or_one_method(seeds: int, methods: list[str], said: str) -> None:
    text = table(seeds, methods)
    assert "**" not in text
    assert said in text
    assert SEPARATED not in text
