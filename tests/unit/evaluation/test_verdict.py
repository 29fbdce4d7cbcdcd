"""Where samples are between chance and real data, and what both are for each kind of task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.demonstrations import make_native
from helpers.image_files import CLASSES, make_folder, pictures, some_labels
from shortcut_models.base import Task
from shortcut_models.evaluation.results import Rows, verdict
from shortcut_models.metrics.catalogue import METRICS, standing
from shortcut_models.tasks import Digits, Images, Imitation, Toy

REAL = {"accuracy": 0.9, "recall": 0.8, "pixel_frechet": 0.1}
CHANCE = {"accuracy": 0.1, "recall": 0.5, "pixel_frechet": 10.0}


def result(**steps: dict[str, float]) -> dict[str, Any]:
    rows = {name.strip("_"): row | {"seconds": 1.0} for name, row in steps.items()}
    return {"steps": rows, "real": REAL, "chance": CHANCE}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            REAL,
            "in 1 step near real data (at least in accuracy: 0.900 of samples, 0.900 of real data, 0.100 by chance)",
        ),
        (CHANCE | {"recall": 0.0}, "in 1 step at chance (accuracy: 0.100 of samples, 0.900 of real data, 0.100 by "),
        # Noise has a recall, as its neighbourhoods are large: what was not learned is at 0 all the same.
        (
            REAL | {"recall": 0.3},
            "in 1 step far from real data (recall: 0.300 of samples, 0.800 of real data, 0.000 by",
        ),
        # Mosaics of patches look right by their neighbours, and only the labels tell.
        (REAL | {"accuracy": 0.12}, "in 1 step far from real data (accuracy: 0.120 of samples, 0.900 of real data"),
        (REAL | {"pixel_frechet": 1.0}, "far from real data (pixel frechet: 1.000 of samples, 0.1000 of real data"),
        (REAL | {"pixel_frechet": 0.05}, "near real data"),
    ],
)
def test_the_verdict_names_the_worst_measure(row: dict[str, float], said: str) -> None:
    assert said in verdict(result(_1=row))


def test_the_fewest_and_the_most_steps_are_judged() -> None:
    said = verdict(result(_1=CHANCE | {"recall": 0.0}, _4=CHANCE, _128=REAL))
    assert said.startswith("in 1 step at chance (")
    assert "), in 128 steps near real data (" in said
    assert "4 steps" not in said


def test_measures_of_unknown_direction_give_no_verdict() -> None:
    other = {"steps": {"1": {"beauty": 3.0, "seconds": 1.0}}, "real": {"beauty": 2.0}, "chance": {"beauty": 1.0}}
    assert verdict(other) == "no verdict: no measure has both a direction and a value of real data"


def test_distances_stand_by_factors_and_fractions_by_differences() -> None:
    assert standing("pixel_frechet", 1.0, 10.0, 0.1) == pytest.approx(0.5)
    assert standing("accuracy", 0.5, 0.1, 0.9) == pytest.approx(0.5)
    assert standing("pixel_frechet", 1.0, 0.1, 0.1) is None  # chance is as good as real data: it tells nothing
    assert standing("accuracy", float("nan"), 0.1, 0.9) is None
    assert standing("distance_to_finest", 1.0, 10.0, 0.1) is None
    assert {name for name, entry in METRICS.items() if entry.chance == 0} == {
        "precision", "recall", "density", "coverage",
    }  # fmt: skip


def test_a_policy_is_compared_with_actions_that_ignore_what_is_seen(tmp_path: Path) -> None:
    task = Imitation(str(make_native(tmp_path)), chunk=4, execute=2).resolve()
    assert task.evaluate_real(10) == {}
    chance = task.evaluate_chance(torch.zeros(10, *task.shape), np.full(10, -1))
    assert chance["action_error"] > 0
    half = {name: value / 2 for name, value in chance.items()}
    found = {"steps": {"1": half, "4": chance}, "real": {}, "chance": chance}
    assert verdict(found) == (
        "in 1 step action error is 50% of that by chance, in 4 steps at chance: action error is 100% of that by chance"
    )


@pytest.mark.parametrize("kind", ["digits", "points", "images"])
def test_real_data_is_near_real_data_and_noise_is_at_chance(tmp_path: Path, kind: str) -> None:
    tasks: dict[str, Any] = {"digits": Digits(), "points": Toy(size=5000)}
    if kind == "images":
        make_folder(tmp_path, pictures(200), some_labels(200))
        tasks["images"] = Images(str(tmp_path)).resolve()
    task: Task = tasks[kind]
    labels = np.arange(300) % 10 if kind == "digits" else np.arange(300) % CLASSES
    real, chance = task.evaluate_real(300), task.evaluate_chance(torch.randn(300, *task.shape), labels)
    assert set(chance) - {"accuracy_real"} == set(real)
    again = task.evaluate_real(299)
    found = {"steps": {"1": again, "2": chance}, "real": real, "chance": chance}
    assert verdict(found).startswith("in 1 step near real data")
    # The images of the test are like noise themselves.
    assert f", in 2 steps {'far from real data' if kind == 'images' else 'at chance'} (" in verdict(found)


def test_the_accuracy_of_real_digits_is_of_those_the_classifier_has_not_seen() -> None:
    assert 0.98 < Digits().evaluate_real(100)["accuracy"] < 1


def test_rows_have_one_head_though_real_data_is_measured_beside_samples(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows()
    rows("chance", {"recall": 0.0, "accuracy": 0.2, "accuracy_real": 0.5})
    rows("real", {"recall": 0.75, "accuracy": 0.5})
    for steps in ("1", "4"):
        rows(steps, {"recall": 0.5, "accuracy": 0.25, "accuracy_real": 0.5, "seconds": 2.0})
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["steps", "recall", "accuracy", "seconds"]
    assert [line.split() for line in lines] == [
        ["chance", "0", "0.2"], ["real", "0.75", "0.5"], ["1", "0.5", "0.25", "2"], ["4", "0.5", "0.25", "2"],
    ]  # fmt: skip
