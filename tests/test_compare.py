"""`shortcut compare`: all methods at equal compute, what is written, and how it goes on."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch
from PIL import Image

from shortcut_models.compare import Comparison, Trial
from shortcut_models.compare_cli import Workers
from shortcut_models.errors import UserError
from shortcut_models.objectives import OBJECTIVES
from shortcut_models.recipes import RECIPES
from shortcut_models.runs import Run
from tiny import NETWORK, Outcome, command, environment, fork, same, shortcut, steps_of, tensors, train

SIZES = (*NETWORK, "--batch-size", 32, "--warmup", 3, "--device", "cpu", "--precision", "fp32", "--task.size", 500,
         "--snapshots", 3, "--objective.max-steps", 8)  # fmt: skip
BUDGET = 3000
GENERATIVE = [name for name, cls in OBJECTIVES.items() if cls.generative]
TWO_PHASES = {"progressive", "consistency-distillation", "reflow", "two-model"}
STARTED: list[str] = []
"""the trials for which a process was started"""
FILES = ["table.md", "results.csv", "results.json", "quality.png", "samples.png"]


class Forked:
    """A forked process that looks like one of `subprocess`: it starts at once, as it has imported everything."""

    def __init__(self, process: ForkServerProcess, said: Path) -> None:
        self.process, self.said = process, said
        self.terminate, self.wait = process.terminate, process.join

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    @property
    def stderr(self) -> TextIO:
        return self.said.open()


@pytest.fixture(scope="module", autouse=True)
def _processes_that_start_at_once(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("said")

    def start(self: Workers, trial: Trial) -> None:
        STARTED.append(trial.name)
        said = place / f"{len(STARTED)}.txt"
        words = ("compare", *self.words, "--trial", trial.name)
        self.running[trial.name] = Forked(fork(words, said=said), said)  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "start", start)
        yield


def compare(out: Path, *words: object) -> tuple[Outcome, list[str]]:
    """The outcome, and the trials that were started."""
    STARTED.clear()
    outcome = shortcut("compare", "four-gaussians", *SIZES, "--budget", BUDGET, "--num", 50, "--steps", 4, 1,
                       "--out", out, *words)  # fmt: skip
    return outcome, sorted(STARTED)


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nine") / "comparison"
    outcome, names = compare(out, "--workers", 2)
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
        batch = OBJECTIVES[name](**made).evaluations * 32
        pair = made.get("pair_steps", 0)
        assert BUDGET - batch - pair - 1 <= sum(parts.values()) <= BUDGET
        assert parts["training"] == pytest.approx(config["training"]["steps"] * batch, abs=1)
        assert steps_of(nine / "runs" / f"{name}-seed0") == [config["training"]["steps"]]
        assert not Run(nine / "runs" / f"{name}-seed0").snapshots.exists()  # nobody looks at them here
        assert parts.keys() == {"training"} | ({"teacher"} if name in TWO_PHASES else set()) | (
            {"pairs"} if pair else set()
        )
        if "teacher" in parts:
            assert parts["teacher"] == teacher["training"]["steps"] * 3 * 32
        if pair:
            assert parts["pairs"] == made["pairs"] * pair
            assert pair <= 8  # the most that the teacher has
    assert teacher["objective"]["name"] == "flow"


def test_the_table_is_that_of_the_paper(nine: Path) -> None:
    text = (nine / "table.md").read_text()
    assert text.startswith("# four-gaussians: 9 methods at equal compute\n")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == ["sliced wasserstein (lower is better)", "distance to finest (lower is better)", "Cost"]
    values = read(nine)["values"]
    for section, measure in zip(text.split("\n## ")[1:3], values, strict=True):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()[2:] if line]
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
            # A method that hardly learned may be at one with itself: that is the best of nothing.
            best = [] if measure == "distance_to_finest" else [min(numbers, key=lambda name: numbers[name])]
            assert [name for name, cell in found.items() if "**" in cell] == best


def test_every_value_is_there_and_is_that_of_the_evaluation(nine: Path) -> None:
    with (nine / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * 1 * 2 * 2  # methods, seeds, budgets, measures
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


def test_the_pictures_are_pictures(nine: Path) -> None:
    for name in ("quality.png", "samples.png"):
        with Image.open(nine / name) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(2**24) or []) > 50


def test_a_trial_is_the_training_that_train_would_do(nine: Path, tmp_path: Path) -> None:
    run = nine / "runs" / "shortcut-seed0"
    training = Run(run).read_config()["training"]  # a warm-up that is too long for it has been cut
    words = ("train", "four-gaussians", *SIZES, "--warmup", training["warmup"], "--steps", training["steps"],
             "--objective.pairing", "independent")  # fmt: skip
    train(tmp_path / "run", options=words)
    assert same(tensors(run), tensors(tmp_path / "run"))
    assert training["workers"] == 0  # --workers of `compare` is not that of a training


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}


def test_the_same_call_again_trains_nothing(nine: Path) -> None:
    before, table = times(nine), (nine / "table.md").read_text()
    outcome, names = compare(nine, "--workers", 3)  # however many at a time
    assert outcome.code == 0, outcome.err
    assert names == []
    assert times(nine) == before
    assert (nine / "table.md").read_text() == table


def test_methods_and_seeds_are_added_and_only_they_are_trained(tmp_path: Path) -> None:
    out, done = tmp_path / "out", set()
    for words, expected in (
        (("flow",), {"flow-seed0"}),
        (("flow", "consistency-training", "reflow"), {"consistency-training-seed0", "teacher-seed0", "reflow-seed0"}),
        (("flow", "reflow", "--seeds", 2), {"flow-seed1", "teacher-seed1", "reflow-seed1"}),
    ):
        before = times(out)
        outcome, names = compare(out, "--workers", 2, "--objectives", *words)
        assert outcome.code == 0, outcome.err
        assert set(names) == expected
        assert len(names) == len(expected)
        assert before.items() <= times(out).items()
        done |= expected
    assert {path.name for path in (out / "runs").iterdir()} == done
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 2 * 2 * 2 * 2
    assert "±" in (out / "table.md").read_text()
    weights = [tensors(out / "runs" / f"flow-seed{seed}") for seed in (0, 1)]
    assert not any(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] if weights[0][name].ndim == 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", 7000), "holds a comparison with another budget: give another --out"),
        (("--batch-size", 16), "holds a comparison with another training: give another --out"),
        (("--network.width", 8), "holds a comparison with another network: give another --out"),
        (("--objectives", "flow", "magic"), "there is no objective 'magic': choose one of flow, "),
        (("--objectives", "flwo"), "there is no objective 'flwo': did you mean flow?"),
        (("--steps", 0), "--steps must be whole numbers from 1 to 8, not 0"),
        (("--objective.max-steps", 128, "--steps", 1, 129), "--steps must be whole numbers from 1 to 128, not 129"),
        (("--steps", "four"), "--steps: must be a whole number, not 'four'"),
        (("--seeds", 0), "--seeds must be a whole number >= 1, not 0"),
        (("--num", 0), "--num must be a whole number >= 1, not 0"),
        (("--budget", 0), "--budget must be a whole number >= 1, not 0"),
        (("--budget", 1), "--budget 1 is not enough for one step of each method: give more"),
        (("--budget", 150), "--budget 150 is not enough for one step of each method: give more"),
        (("--workers", 0), "--workers must be a whole number >= 1, not 0"),
        (("--out", "notes"), "notes is not empty and holds no comparison: give another --out"),
        (("--out", "notes/thesis.tex"), "holds no comparison: give another --out"),
        (("--nonsense", 1), "unrecognized arguments: --nonsense 1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    nine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], message: str
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").touch()
    monkeypatch.chdir(tmp_path)
    before = times(nine)
    outcome, names = compare(nine, *words)
    assert (outcome.code, outcome.out, names) == (2, "", [])
    assert outcome.err.startswith("shortcut: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert times(nine) == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["notes", "thesis.tex"]


def test_a_trial_that_fails_is_named_in_one_line(tmp_path: Path) -> None:
    words = ("--objectives", "flow", "--seed", 3, "--workers", 2)
    assert compare(tmp_path / "out", *words)[0].code == 0
    evaluation = Run(tmp_path / "out" / "runs" / "flow-seed3").evaluation
    evaluation.unlink()
    (tmp_path / "out" / "runs" / "flow-seed3" / "config.json").write_text("{")
    outcome, _ = compare(tmp_path / "out", *words)
    assert outcome.code == 2
    assert re.match(r"shortcut: error: flow-seed3: .*config.json is damaged", outcome.complaint)


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


@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_in_the_middle_it_saves_and_the_same_command_goes_on(tmp_path: Path, workers: int) -> None:
    """With processes as a shell starts them: the command alone, and one that it waits for."""
    out = tmp_path / "out"
    words = ("compare", "four-gaussians", *SIZES, "--budget", 3 * 32 * 800, "--num", 20, "--steps", 1, "--objectives",
             "flow", "--out", out, "--log-every", 10, "--workers", workers)  # fmt: skip
    process = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, env=environment())
    run = Run(out / "runs" / "flow-seed0")
    while len(run.read_metrics()) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert re.match(r"shortcut: stopped.*, and saved; run the same command again to go on$", said.splitlines()[-1])
    (saved,) = steps_of(run.path)
    assert 30 <= saved < 800
    earlier = [line for line in run.read_metrics() if line["step"] <= saved]

    outcome = shortcut(*words)
    assert outcome.code == 0, outcome.err
    assert steps_of(run.path) == [800]
    assert run.read_metrics()[: len(earlier)] == earlier
    assert (out / "table.md").exists()
