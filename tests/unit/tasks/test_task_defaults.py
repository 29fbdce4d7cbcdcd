"""A task that neither measures nor draws: training, evaluation, its verdict, the report and the commands cope."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import shortcut_models as sm
from helpers.comparisons import processes_that_start_at_once  # noqa: F401  # a fixture that works by itself
from helpers.runs import shortcut
from shortcut_models.base import X
from shortcut_models.data.arrays import ArrayDataset
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.recipes.library import RECIPES, Recipe
from shortcut_models.tasks import TASKS

TRAINING = sm.Training(
    train_steps=2, batch_size=8, sample_every=1, device="cpu", precision="fp32", snapshots=0, side_share=1.0
)


@dataclasses.dataclass(frozen=True)
class Bare(sm.Task):
    """Signals of sixteen numbers, with no more than a task must have."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 16)

    def dataset(self, split: str) -> ArrayDataset:
        return ArrayDataset(torch.randn(20, 1, 16, generator=torch.Generator().manual_seed(0)), {})

    def encode(self, raw: torch.Tensor) -> X:
        return raw

    def decode(self, x: X) -> np.ndarray:
        return x.cpu().numpy()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    network = MLPConfig(width=8, depth=1, condition_width=8)
    recipe = Recipe(about="signals", task=Bare(), network=network, objective=Shortcut(max_steps=4), training=TRAINING)
    monkeypatch.setitem(TASKS, "bare", Bare)
    monkeypatch.setitem(RECIPES, "bare", recipe)
    return recipe


def test_it_has_no_measures_and_a_picture() -> None:
    samples = np.zeros((3, 1, 16), np.float32)
    assert Bare().evaluate(samples, np.full(3, -1)) == {}
    assert Bare().evaluate_real(3) == Bare().evaluate_chance(torch.zeros(2, 1, 16), np.full(2, -1)) == {}
    assert Bare().draw(samples, 2).width > 20


def test_every_command_copes(bare: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = sm.fit(bare.network, bare.objective, bare.task, run=run, training=TRAINING, recipe="bare", quiet=True)
    assert list((run / "samples").glob("*.png"))
    for counts, has_distance in (([1], False), ([1, 4], True)):
        found = sm.evaluate(model, counts, num=5, quiet=True)
        assert (found["real"], found["chance"]) == ({}, {})
        assert found["verdict"] == "no verdict: no measure has both a direction and a value of real data"
        assert ("distance_to_finest" in found["steps"]["1"]) == has_distance
        shortcut("evaluate", run, "--steps", *counts, "--num", 5)
        shortcut("report", run)
        assert "<html" in (run / "report.html").read_text()
    shortcut("sample", run, "--steps", 1, "--num", 3, "--out", tmp_path / "made.npz")
    assert (tmp_path / "made.png").exists()


@pytest.mark.long
@pytest.mark.parametrize("steps", [(1,), (4, 1)])
def test_a_comparison_copes(bare: Recipe, tmp_path: Path, steps: tuple[int, ...]) -> None:
    out = tmp_path / "compared"
    words = ("--objectives", "shortcut", "flow", "--steps", *steps, "--num", 5, "--nfe-budget", 3 * 16, "--out", out)
    outcome = shortcut("compare", "bare", *words)
    assert outcome.code == 0, outcome.err
    assert (out / "table.md").exists()
