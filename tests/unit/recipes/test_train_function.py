"""`train` in Python: the same run as the command line makes, and options that it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import shortcut_models as sm
from helpers.runs import DIGITS, POINTS, refusal, same, tensors, train
from shortcut_models.models.run import Run
from shortcut_models.objectives import Reflow
from shortcut_models.tasks import Toy

TRAINING = {
    "batch_size": 32, "warmup": 3, "device": "cpu", "precision": "fp32", "side_share": 1.0, "train_steps": 4,
}  # fmt: skip
NETWORK = {"width": 16, "depth": 1}


def same_runs(one: Path, other: Path) -> bool:
    return same(tensors(one), tensors(other)) and Run(one).read_config() == Run(other).read_config()


def test_a_recipe_is_trained_as_by_the_command(tmp_path: Path) -> None:
    train(tmp_path / "command", "--train-steps", 4, options=DIGITS)
    model = sm.train("digits", steps=4, run=tmp_path / "python", network=NETWORK, training=TRAINING, quiet=True)
    assert same_runs(tmp_path / "command", tmp_path / "python")
    assert (model.step, model.recipe) == (4, "digits")
    again = sm.train("digits", run=str(tmp_path / "command"), network=NETWORK, training=TRAINING, quiet=True)
    assert same(model.network.state_dict(), again.network.state_dict())  # it was trained already


@pytest.mark.long
def test_names_and_instances_of_parts_are_those_of_the_command(tmp_path: Path) -> None:
    words = ("--train-steps", 4, "--objective", "flow", "--network", "mlp", "--task.size", 300)
    train(tmp_path / "command", *words, options=POINTS)
    recipe = sm.RECIPES["four-gaussians"]
    found = sm.train(
        "four-gaussians", run=tmp_path / "python", objective="flow", network=replace(recipe.network, **NETWORK),
        task={"size": 300}, training={**TRAINING, "snapshots": 0}, quiet=True,
    )  # fmt: skip
    assert found.objective.max_steps == 128
    words = ("--train-steps", 4, "--objective", "flow", "--objective.max-steps", 128, "--network", "mlp", "--task.size")
    train(tmp_path / "command", *words, 300, "--overwrite", options=POINTS)
    assert same_runs(tmp_path / "command", tmp_path / "python")
    with_instances = sm.train(
        replace(recipe, task=Toy(size=300)), run=tmp_path / "own", network=sm.MLP(width=16, depth=1),
        objective=sm.FlowMatching(max_steps=128, sigma_min=found.objective.sigma_min), steps=4,
        training=replace(recipe.training, **TRAINING, snapshots=0), quiet=True,
    )  # fmt: skip
    assert with_instances.recipe == ""
    assert same(tensors(tmp_path / "own"), tensors(tmp_path / "python"))


def test_methods_of_two_phases_train_their_teacher_beside(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "network": NETWORK,
        "task": {"size": 300},
        "training": {**TRAINING, "warmup": 0, "snapshots": 0},
    }
    objective = Reflow(max_steps=8, pairs=40, pair_steps=2)
    student = sm.train("moons", run=tmp_path / "run", objective=objective, quiet=True, **options)
    assert (tmp_path / "run-teacher" / "config.json").exists()
    assert student.objective == objective
    after = sm.train(
        "moons", run=tmp_path / "after", objective=objective, teacher=tmp_path / "run-teacher", steps=2, quiet=True,
        **options,
    )  # fmt: skip
    assert same(student.network.state_dict(), after.network.state_dict())


def test_callbacks_are_called_and_minutes_choose_what_is_not_given(tmp_path: Path) -> None:
    steps = []

    class Look(sm.Callback):
        def on_step(self, trainer: Any) -> None:
            steps.append(trainer.step)
            if trainer.step == 2:
                trainer.stop()

    model = sm.train(
        "moons", run=tmp_path / "run", minutes=0.05, network=NETWORK, callbacks=[Look()], quiet=True,
        training={"batch_size": 32}, task={"size": 300},
    )  # fmt: skip
    assert steps == [1, 2]
    config = Run(tmp_path / "run").read_config()
    assert (config["network"]["width"], config["training"]["batch_size"], model.step) == (16, 32, 2)
    assert config["training"]["train_steps"] != sm.RECIPES["moons"].training.train_steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "digit"}, "there is no recipe 'digit': did you mean digits"),
        ({"network": "mpl"}, "there is no network 'mpl': did you mean mlp"),
        ({"objective": "flows"}, "there is no objective 'flows': did you mean flow"),
        ({"training": {"lr": 0.1}}, "training does not have an option 'lr': did you mean learning_rate"),
        ({"training": {"learning-rate": 0.1}}, "did you mean learning_rate"),
        ({"task": {"image_size": 8}}, "task does not have an option 'image_size': choose one of"),
        ({"training": {"batch_size": 0}}, "training: batch-size must be >= 1"),
        ({"network": {"width": "16"}}, "network: width must be a whole number, not '16'"),
        ({"task": "digits"}, "task has no names: pass an instance"),
        ({"network": 3}, "network must be a NetworkConfig, a dict of options, or None, not 3"),
        ({"data": "photos"}, "recipe digits has its own data: leave --data out"),
        ({"vae": "sd"}, "recipe digits does not have a VAE"),
        ({"recipe": "images"}, "recipe images needs your data"),
        ({"objective": {"guidance": 2.0, "label_dropout": 0.0}}, "needs label-dropout above 0"),
        ({"minutes": 1.0, "steps": 3}, "minutes chooses the number of steps"),
        ({"teacher": "nowhere", "objective": "reflow"}, "nowhere does not exist"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_bad_options_are_refused_in_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with refusal(message):
        sm.train(**{"recipe": "digits", "run": tmp_path / "run", "quiet": True, **options})
    assert not (tmp_path / "run").exists()
