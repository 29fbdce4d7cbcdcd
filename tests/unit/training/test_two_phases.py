"""Training a teacher, then what learns from it: what is wrong with the second is said before the first begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.oracle import wake
from helpers.runs import NETWORK, POINTS, assert_refused, same, shortcut, steps_of, train, tree
from shortcut_models.base import Network, Objective
from shortcut_models.errors import UserError
from shortcut_models.models.loading import load
from shortcut_models.models.model import Model
from shortcut_models.models.run import Run
from shortcut_models.networks import DiTConfig
from shortcut_models.objectives import FlowMatching, ProgressiveDistillation, Reflow
from shortcut_models.tasks import Digits
from shortcut_models.training.teacher import init_from_teacher


@pytest.mark.parametrize(
    ("objective", "steps"), [("progressive", 13), ("consistency-distillation", 12), ("reflow", 13)]
)
def test_where_no_teacher_is_given_half_of_the_steps_train_one(tmp_path: Path, objective: str, steps: int) -> None:
    words = ("--objective", objective, "--train-steps", steps)
    words += ("--objective.pairs", 50, "--objective.pair-steps", 2) if objective == "reflow" else ()
    outcome = train(tmp_path / "run", *words, options=POINTS)
    teacher, student = (Run(tmp_path / name).read_config() for name in ("run-teacher", "run"))
    assert teacher["objective"]["name"] == "flow"
    assert teacher["training"]["train_steps"] == 6
    assert student["objective"]["name"] == objective
    assert student["training"]["train_steps"] == steps - 6
    assert teacher["objective"]["max_steps"] == student["objective"]["max_steps"] == 8
    assert load(tmp_path / "run-teacher").step == student["teacher"]["step"] == 6
    assert f"{tmp_path / 'run'} is trained" in outcome.out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    train(tmp_path / "run", *words, options=POINTS)  # both are there already
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == student


def test_one_step_is_too_few_for_both(tmp_path: Path) -> None:
    words = (*POINTS, *NETWORK, "--objective", "progressive", "--train-steps", 1, "--warmup", 0)
    message = "train-steps must be >= 5, as half of them train a teacher, and the others the 3 stages"
    assert_refused((*words, "--run", tmp_path / "run"), message, unchanged=tmp_path)


PAIRS = ("--objective", "reflow", "--objective.pairs", 50)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--objective", "progressive", "--train-steps", 4),
            "train-steps must be >= 5, as half of them train a teacher",
        ),
        ((*PAIRS, "--train-steps", 0), "train-steps must be"),
        (("--objective", "two-model"), "run is not empty and is not a run directory: choose another with --run"),
    ],
)
def test_refusals_of_a_student_come_before_a_teacher_is_trained(
    tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    assert_refused((*POINTS, *words, "--run", tmp_path / "run"), message, unchanged=tmp_path)


def test_pairs_are_made_in_no_more_steps_than_the_teacher_has(tmp_path: Path) -> None:
    """The default, 128, is more than these 8."""
    train(tmp_path / "run", *PAIRS, options=POINTS)
    assert Run(tmp_path / "run").read_config()["objective"]["pair_steps"] == 8


def test_the_student_takes_the_snapshots_that_were_asked_for(tmp_path: Path) -> None:
    train(tmp_path / "run", *PAIRS, "--snapshots", 1, options=POINTS)
    assert len(list(Run(tmp_path / "run").snapshots.iterdir())) == 1
    assert not Run(tmp_path / "run-teacher").snapshots.exists()


@pytest.mark.long
def test_other_steps_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """With a constant schedule, too, where the teacher would be trained further, and the message name the warm-up."""
    words = (*PAIRS, "--schedule", "constant")
    train(tmp_path / "run", *words, "--train-steps", 12, options=POINTS)
    before = tree(tmp_path)
    for steps in (40, 11):
        outcome = shortcut(*POINTS, *words, "--train-steps", steps, "--run", tmp_path / "run")
        assert (outcome.code, outcome.complaint) == (
            2,
            f"shortcut: error: {tmp_path}/run-teacher was trained for 6 steps, half of --train-steps, not "
            f"{steps // 2}: use the same --train-steps to resume, or pass --teacher {tmp_path}/run-teacher and the "
            f"steps of the student alone",
        )
        assert tree(tmp_path) == before
    more = ("--teacher", tmp_path / "run-teacher", "--objective.pair-steps", 8, "--warmup", 0, "--train-steps", 9)
    train(tmp_path / "run", *words, *more, options=POINTS)  # what it says can be done
    assert steps_of(tmp_path / "run")[-1] == 9


@pytest.mark.long
def test_a_run_of_another_teacher_or_other_options_is_refused_before_one_is_trained(tmp_path: Path) -> None:
    train(tmp_path / "flow", "--objective", "flow", options=POINTS)
    train(tmp_path / "run", *PAIRS, "--objective.pair-steps", 2, "--teacher", tmp_path / "flow", options=POINTS)
    outcome = shortcut(*POINTS, *PAIRS, "--run", tmp_path / "run")
    assert "run learned from a model that is not in" in outcome.complaint
    train(tmp_path / "other", *PAIRS, options=POINTS)
    outcome = shortcut(*POINTS, *PAIRS, "--objective.pair-guidance", 2, "--run", tmp_path / "other")
    assert "other was started with --objective.pair-guidance 1.0, not 2.0" in outcome.complaint
    assert not (tmp_path / "run-teacher").exists()


def dit(**sizes: Any) -> Network:
    config = DiTConfig(**{"width": 16, "depth": 1, "heads": 2, "patch_size": 4} | sizes)
    return wake(config.build(Digits().shape, Digits().conditions))


def begin(student: Network, objective: Objective, teacher: Network) -> None:
    init_from_teacher(student, objective, Digits(), Model(teacher, FlowMatching(max_steps=128), Digits()))


def test_weights_are_taken_by_networks_of_the_same_configuration_alone() -> None:
    """Heads show in no shape: with others, the same weights are another function."""
    teacher = dit()
    for objective in (ProgressiveDistillation(), Reflow()):
        begin(student := dit(checkpointing=True), objective, teacher)
        assert same(student.state_dict(), teacher.state_dict())
    with pytest.raises(UserError, match="the teacher's network has heads 2, not 4, but the student replaces it"):
        begin(dit(heads=4), ProgressiveDistillation(), teacher)
    student = dit(heads=4)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    begin(student, Reflow(), teacher)
    assert same(student.state_dict(), before)
    assert not any(torch.equal(before[name], value) for name, value in teacher.state_dict().items() if value.ndim == 2)
