"""What a comparison gives each method: its options, and its share of the budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from shortcut_models.compare import Comparison
from shortcut_models.errors import UserError
from shortcut_models.objectives import OBJECTIVES
from shortcut_models.recipes import RECIPES


@pytest.mark.parametrize("budget", [8000, 10_000, 123_457])
@pytest.mark.parametrize("recipe", ["four-gaussians", "digits"])
def test_budgets_of_any_size_are_kept(tmp_path: Path, recipe: str, budget: int) -> None:
    """Also with the recipes' own sizes, where a batch is large."""
    made = RECIPES[recipe]
    batch = made.training.batch_size
    comparison = Comparison(recipe, made, list(OBJECTIVES), budget * batch // 100, 2, [128, 1], 10, tmp_path)
    for trial in comparison.trials():
        each = trial.recipe.objective.evaluations * batch
        spent = sum(trial.cost.values())
        if trial.method != "teacher":
            assert comparison.budget - each - 33 <= spent <= comparison.budget
        assert trial.recipe.training.steps * each == pytest.approx(trial.cost["training"], abs=1)


def test_a_budget_that_leaves_a_stage_without_a_step_is_refused(tmp_path: Path) -> None:
    made = RECIPES["digits"]
    with pytest.raises(UserError, match="not enough for each of progressive's stages"):
        Comparison("digits", made, ["progressive"], 60 * made.training.batch_size, 1, [1], 10, tmp_path)
