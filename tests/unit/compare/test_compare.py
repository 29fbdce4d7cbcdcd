"""`shortcut compare`: all methods at equal compute, what is written, and mistakes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.comparisons import BUDGET, SIZES, STARTED, compare, processes_that_start_at_once, times, words_of
from helpers.pixels import figures_drawn
from helpers.runs import assert_refused, listing, same, steps_of, tensors, train
from shortcut_models.drawing.curves import against_steps
from shortcut_models.drawing.sheets import stack
from shortcut_models.models.loading import load
from shortcut_models.models.run import Run
from shortcut_models.objectives import OBJECTIVES

pytestmark = [pytest.mark.multiprocess, pytest.mark.long]  # it trains all methods

__all__ = ["processes_that_start_at_once"]

GENERATIVE = [name for name, cls in OBJECTIVES.items() if cls.is_generative]
TWO_PHASES = {"progressive", "consistency-distillation", "reflow", "two-model"}
FILES = ["table.md", "results.csv", "results.json", "quality.png", "samples.png"]


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nine") / "comparison"
    outcome, names = compare(out, "--jobs", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [
        "10 trainings of 3,000 network evaluations at most", *(str(out / name) for name in FILES)
    ]  # fmt: skip
    assert names == sorted(f"{name}-seed0" for name in [*GENERATIVE, "teacher"])
    return out


def read(out: Path) -> Any:
    return json.loads((out / "results.json").read_text())


def test_every_method_costs_the_budget_and_no_more(nine: Path) -> None:
    cost = read(nine)["cost"]
    assert set(cost) == {f"{name}-seed0" for name in GENERATIVE}
    teacher = Run(nine / "runs" / "teacher-seed0").read_config()
    for name in GENERATIVE:
        config, parts = Run(nine / "runs" / f"{name}-seed0").read_config(), cost[f"{name}-seed0"]
        made = {key: value for key, value in config["objective"].items() if key != "name"}
        batch = OBJECTIVES[name](**made).nfe_per_example * 32
        pair = made.get("pair_steps", 0)
        assert BUDGET - batch - pair - 1 <= sum(parts.values()) <= BUDGET
        assert parts["training"] == pytest.approx(config["training"]["train_steps"] * batch, abs=1)
        assert steps_of(nine / "runs" / f"{name}-seed0") == [config["training"]["train_steps"]]
        assert not Run(nine / "runs" / f"{name}-seed0").snapshots.exists()  # not needed here
        assert parts.keys() == {"training"} | ({"teacher"} if name in TWO_PHASES else set()) | (
            {"pairs"} if pair else set()
        )
        if "teacher" in parts:
            assert parts["teacher"] == teacher["training"]["train_steps"] * 3 * 32
        if pair:
            assert parts["pairs"] == made["pairs"] * pair
            assert pair <= 8  # the most that the teacher has
    assert teacher["objective"]["name"] == "flow"


def test_the_table_is_that_of_the_paper(nine: Path) -> None:
    text = (nine / "table.md").read_text()
    assert text.startswith("# four-gaussians: 9 methods at equal compute\n")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == ["sliced wasserstein (lower is better)", "Cost"]  # the most steps, 8, are not compared
    values = read(nine)["values"]
    for section, measure in zip(text.split("\n## ")[1:2], values, strict=True):
        lines = [line for line in section.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        assert rows[0] == ["", "4-step", "1-step"]
        first, second = (
            rows.index(["*Distillation in two phases*", "", ""]),
            rows.index(["*Trained from end to end*", "", ""]),
        )
        assert {row[0] for row in rows[first + 1 : second]} == TWO_PHASES
        assert {row[0] for row in rows[second + 1 :]} == set(GENERATIVE) - TWO_PHASES
        for column, steps in ((1, "4"), (2, "1")):
            found = {row[0]: row[column] for row in rows[2:] if row[column] and row[0] in GENERATIVE}
            numbers = {name: value[0] for name, value in values[measure][steps].items()}
            assert {name: float(cell.strip("*")) for name, cell in found.items()} == {
                name: float(f"{value:.3g}") for name, value in numbers.items()
            }
            assert not any("**" in cell for cell in found.values())
        assert "\n\nOne seed does not show what is chance, so no winner is marked: pass --seeds 3 or more.\n" in section
    assert read(nine)["winners"] == {"sliced_wasserstein": {"4": None, "1": None}}


def test_every_value_is_there_and_is_that_of_the_evaluation(nine: Path) -> None:
    with (nine / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * 1 * 2  # methods, seeds, numbers of steps
    assert list(rows[0]) == ["method", "seed", "steps", "measure", "value"]
    for row in rows:
        evaluation = json.loads(Run(nine / "runs" / f"{row['method']}-seed0").evaluation.read_bytes())
        assert (evaluation["num"], evaluation["seed"], row["seed"]) == (50, 0, "0")  # the same noises for all
        assert evaluation["steps"][row["steps"]][row["measure"]] == float(row["value"])
        assert read(nine)["values"][row["measure"]][row["steps"]][row["method"]] == [float(row["value"])]
    ends = {
        row["method"]: row["value"] for row in rows if (row["steps"], row["measure"]) == ("1", "sliced_wasserstein")
    }
    assert len(set(ends.values())) == 9  # no two methods are one


def test_the_figure_has_a_line_for_each_method_through_its_values(nine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        measure: {int(n): row for n, row in by_steps.items()} for measure, by_steps in read(nine)["values"].items()
    }
    seen = figures_drawn(monkeypatch)
    picture = against_steps(values, GENERATIVE)
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(nine / "quality.png").convert("RGB")))
    for axes, (measure, by_steps) in zip(seen[0].axes, values.items(), strict=True):
        assert axes.get_title(loc="left") == measure.replace("_", " ")
        assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
            name: [[n, by_steps[n][name][0]] for n in (1, 4)] for name in GENERATIVE
        }


def test_the_sheet_has_samples_of_each_method_at_each_number_of_steps(nine: Path) -> None:
    models = {name: load(nine / "runs" / f"{name}-seed0") for name in GENERATIVE}
    titles, pictures = [], []
    for steps in (4, 1):
        for name, model in models.items():
            titles.append(f"{name}, {steps}")
            pictures.append(model.task.draw(model.sample(1024, steps=steps, seed=0), 4))
    expected = np.asarray(stack(titles, pictures, columns=len(models)))
    assert np.array_equal(np.asarray(Image.open(nine / "samples.png").convert("RGB")), expected)


def test_a_trial_is_the_training_that_train_would_do(nine: Path, tmp_path: Path) -> None:
    run = nine / "runs" / "shortcut-seed0"
    training = Run(run).read_config()["training"]  # a warm-up that is too long for it has been cut
    cut = ("--warmup", training["warmup"], "--train-steps", training["train_steps"])
    words = ("train", "four-gaussians", *SIZES, *cut, "--objective.pairing", "independent")
    train(tmp_path / "run", options=words)
    assert same(tensors(run), tensors(tmp_path / "run"))
    assert training["workers"] == 0  # the trainer reads its data itself


def test_the_same_call_again_trains_nothing(nine: Path) -> None:
    before, table = times(nine), (nine / "table.md").read_text()
    outcome, names = compare(nine, "--jobs", 3)  # however many at a time
    assert outcome.code == 0, outcome.err
    assert names == []
    assert times(nine) == before
    assert (nine / "table.md").read_text() == table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nfe-budget", 7000), "holds a comparison with another nfe-budget: choose another --out"),
        (("--batch-size", 16), "holds a comparison with another training: choose another --out"),
        (("--network.width", 8), "holds a comparison with another network: choose another --out"),
        (("--objectives", "flow", "magic"), "there is no objective 'magic': choose one of flow, "),
        (("--objectives", "all", "magic"), "there is no objective 'magic': choose one of flow, "),
        (("--trial", "nonsense"), "there is no trial 'nonsense': choose one of teacher-seed0, "),
        (("--objectives", "flwo"), "there is no objective 'flwo': did you mean flow?"),
        (("--steps", 0), "--steps must be whole numbers from 1 to 8, not 0"),
        (("--objective.max-steps", 128, "--steps", 1, 129), "--steps must be whole numbers from 1 to 128, not 129"),
        (("--steps", "four"), "--steps must be a whole number, not 'four'"),
        (("--seeds", 0), "--seeds must be >= 1, not 0"),
        (("--num", 0), "--num must be >= 1, not 0"),
        (("--nfe-budget", 0), "--nfe-budget must be >= 1, not 0"),
        (("--nfe-budget", 1), "--nfe-budget 1 is not enough for one step of each method: choose a larger one"),
        (("--nfe-budget", 150), "--nfe-budget 150 is not enough for one step of each method: choose a larger one"),
        (("--jobs", 0), "--jobs must be >= 1, not 0"),
        (("--train-steps", 9), "--train-steps is not an option here: --nfe-budget decides the optimiser steps"),
        (("--keep", 9), "--keep is not an option here: a comparison saves at each quarter of a training"),
        (("--out", "notes"), "notes is not empty and does not hold a comparison: choose another --out"),
        (("--out", "notes/thesis.tex"), "does not hold a comparison: choose another --out"),
        (("--nonsense", 1), "there is no option --nonsense"),
    ],
)
def test_compare_refusals(
    nine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], message: str
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").touch()
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    assert_refused(words_of(nine, *words), message, unchanged=nine)
    assert not STARTED
    assert listing(tmp_path) == before
