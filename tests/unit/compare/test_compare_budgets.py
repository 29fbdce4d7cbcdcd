"""What a comparison gives each method: its options, and its share of the budget."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shortcut_models.cli.compare import methods_of
from shortcut_models.compare.comparison import Comparison
from shortcut_models.config import to_dict
from shortcut_models.errors import UserError
from shortcut_models.objectives import OBJECTIVES, FlowMatching, Reflow, Shortcut
from shortcut_models.recipes.library import RECIPES


def comparison(methods: list[str], objective: Any, budget: int = 10**6) -> Comparison:
    recipe = replace(RECIPES["digits"], objective=objective)
    return Comparison("digits", recipe, methods, budget, 1, [1], 10, Path("nowhere"))


@pytest.mark.parametrize("budget", [8000, 10_000, 123_457])
@pytest.mark.parametrize("recipe", ["four-gaussians", "digits"])
def test_budgets_of_any_size_are_kept(tmp_path: Path, recipe: str, budget: int) -> None:
    """Also with the recipes' own sizes, where a batch is large."""
    made = RECIPES[recipe]
    batch = made.training.batch_size
    comparison = Comparison(recipe, made, list(OBJECTIVES), budget * batch // 100, 2, [128, 1], 10, tmp_path)
    for trial in comparison.trials:
        each = trial.recipe.objective.nfe_per_example * batch
        spent = sum(trial.cost.values())
        if trial.method != "teacher":
            assert comparison.nfe_budget - each - 33 <= spent <= comparison.nfe_budget
        assert trial.recipe.training.train_steps * each == pytest.approx(trial.cost["training"], abs=1)


def test_a_budget_that_leaves_a_stage_without_a_step_is_refused(tmp_path: Path) -> None:
    made = RECIPES["digits"]
    with pytest.raises(UserError, match="not enough for each of progressive's stages"):
        Comparison("digits", made, ["progressive"], 60 * made.training.batch_size, 1, [1], 10, tmp_path)


def test_a_budget_that_is_not_enough_for_one_step_says_so() -> None:
    with pytest.raises(UserError, match="--nfe-budget 1000 is not enough for one step of flow: choose a larger one"):
        comparison(["flow"], Shortcut(), 1000)


def test_nothing_is_guided_and_noise_is_paired_independently() -> None:
    given = (Shortcut(guidance=1.5, pairing="transport", bootstrap_fraction=0.5), Reflow(pair_guidance=2.0))
    for objective in given:
        methods = {trial.method: trial.recipe.objective for trial in comparison(list(OBJECTIVES), objective).trials}
        for method in methods.values():
            assert method.guidance == method.pair_guidance == 1.0
            assert getattr(method, "pairing", "independent") == "independent"
    assert comparison(["shortcut"], given[0]).objective("shortcut") == Shortcut(bootstrap_fraction=0.5)


def test_a_teacher_and_its_students_share_their_options() -> None:
    """A student with another step size than its teacher refuses it."""
    given = FlowMatching(conditioned_step_size=1.0, sigma_min=1e-3, label_dropout=0.2)
    for trial in comparison(list(OBJECTIVES), given).trials:
        objective = trial.recipe.objective
        shared = {"conditioned_step_size": 1.0, "sigma_min": 1e-3, "label_dropout": 0.2}
        fields = to_dict(objective)
        assert all(fields.get(name, value) == value for name, value in shared.items())


def test_all_stands_for_the_generative_methods() -> None:
    every = [name for name in OBJECTIVES if name != "bc"]
    assert methods_of(["all"]) == every
    assert methods_of(["all", "flow", "bc", "bc"]) == [*every, "bc"]


def test_a_comparison_of_version_0_1_can_be_continued(tmp_path: Path) -> None:
    """Its settings have other names: budget, teacher_ema, ..."""
    recipe = replace(RECIPES["four-gaussians"], objective=FlowMatching(conditioned_step_size=0.5))
    made = Comparison("four-gaussians", recipe, ["flow"], 10**6, 1, [1], 10, tmp_path)
    settings = json.loads(json.dumps(made.settings()))
    settings["budget"] = settings.pop("nfe_budget")
    settings["training"]["teacher_ema"] = settings["training"].pop("target_ema")
    old = settings["objective"]
    old["told"] = old.pop("conditioned_step_size")  # codespell:ignore told
    (tmp_path / "compare.json").write_text(json.dumps(settings))
    made.begin()
    settings["training"]["teacher_ema"] = 0.5
    (tmp_path / "compare.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="holds a comparison with another training: choose another --out"):
        made.begin()


def test_the_number_of_training_steps_is_not_part_of_a_comparison(tmp_path: Path) -> None:
    """The budget decides it."""
    recipe = RECIPES["four-gaussians"]
    longer = replace(recipe, training=replace(recipe.training, train_steps=99_999))
    for each in (recipe, longer):
        Comparison("four-gaussians", each, ["flow"], 10**6, 1, [1], 10, tmp_path).begin()
