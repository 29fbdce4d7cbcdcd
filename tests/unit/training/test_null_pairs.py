"""What is learned without its condition was made without it, by a model that knows how."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from helpers.oracle import Spy, wake
from shortcut_models.base import Network, Objective
from shortcut_models.data.arrays import ArrayDataset
from shortcut_models.errors import UserError
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import ConsistencyDistillation, FlowMatching, ProgressiveDistillation, Reflow, TwoModel
from shortcut_models.system.signals import StopRequest
from shortcut_models.tasks import Digits, Toy
from shortcut_models.training.pairs import make_pairs
from shortcut_models.training.teacher import init_from_teacher

OBJECTIVE = Reflow(max_steps=8, pairs=100, pair_steps=2)


def model(task: Any, label_dropout: float = 0.1) -> Model:
    network = wake(MLPConfig(width=8, depth=1, condition_width=8).build(task.shape, task.conditions))
    return Model(network, FlowMatching(max_steps=8, label_dropout=label_dropout), task, recipe="digits")


def network(task: Any) -> Network:
    return MLPConfig(width=8, depth=1, condition_width=8).build(task.shape, task.conditions)


def made(folder: Path, teacher: Model, objective: Any) -> Any:
    examples = ArrayDataset(torch.zeros(50, 1, 8, 8), {"label": torch.arange(50) % 10})
    with StopRequest() as stop:
        return make_pairs(teacher, objective, examples, folder, 0, stop, quiet=True)


@pytest.mark.parametrize("method", [Reflow, TwoModel])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_pairs_are_learned_without_a_label_where_they_were_made_so(tmp_path: Path, method: Any, share: float) -> None:
    """And nowhere else, however often they come: the other samples are of their labels."""
    objective = method(max_steps=8, pairs=100, pair_steps=2, label_dropout=share)
    pairs = made(tmp_path, model(Digits()), objective)["train"]
    for _ in range(3):
        spy = Spy()
        objective.losses(spy, Spy(), pairs.__getitems__(list(range(94))).to("cpu")[:90])
        lost = pairs.pairs.drop[:90] if share else torch.zeros(90, dtype=torch.bool)
        assert share * 90 / 2 <= lost.sum() <= share * 90 * 2
        assert torch.equal(spy.calls[0].label, torch.where(lost, -1, pairs.pairs.cond["label"][:90]))


def test_pairs_that_do_not_say_which_lost_their_label_are_those_of_no_dropout(tmp_path: Path) -> None:
    """Those of earlier versions all had their labels."""
    teacher = model(Digits())
    whole = replace(OBJECTIVE, label_dropout=0.0)
    made(tmp_path, teacher, whole)
    assert "label_dropout" not in json.loads((tmp_path / "pairs.json").read_text())
    assert not made(tmp_path, teacher, whole)["train"].pairs.drop.any()
    assert all("drop" not in load_file(path) for path in tmp_path.rglob("*.safetensors"))
    with pytest.raises(UserError, match="holds pairs made with other options: remove it"):
        made(tmp_path, teacher, OBJECTIVE)


WRONG: dict[str, tuple[Objective, str]] = {
    "guided": (ProgressiveDistillation(guidance=2.0, label_dropout=0.0), "leave --objective.guidance out"),
    "unconditional": (ConsistencyDistillation(guidance=0.0, label_dropout=0.0), "leave --objective.guidance out"),
    "guided pairs": (replace(OBJECTIVE, pair_guidance=2.0), "leave --objective.pair-guidance out"),
    "dropout": (ProgressiveDistillation(), "pass --objective.label-dropout 0"),
    "dropout of pairs": (OBJECTIVE, "pass --objective.label-dropout 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_teacher_without_a_null_condition_is_not_asked_for_it(name: str) -> None:
    objective, message = WRONG[name]
    task = Digits()
    with pytest.raises(UserError, match="the teacher was trained with label-dropout 0, .*" + message):
        init_from_teacher(network(task), objective, task, model(task, label_dropout=0.0))
    init_from_teacher(network(task), objective, task, model(task))
    without = "pair_guidance" if objective.requires == "pairs" else "guidance"
    plain = replace(objective, label_dropout=0.0, **{without: 1.0})  # type: ignore[type-var]
    init_from_teacher(network(task), plain, task, model(task, label_dropout=0.0))


def test_without_conditions_a_teacher_without_dropout_is_taken() -> None:
    task = Toy(size=20)
    student, teacher = network(task), model(task, label_dropout=0.0)
    init_from_teacher(student, ProgressiveDistillation(max_steps=8), task, teacher)
    for mine, theirs in zip(student.parameters(), teacher.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
