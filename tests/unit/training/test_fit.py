"""`fit` in Python: configurations in place of networks, training in memory, and arguments that it refuses."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from helpers.runs import same, tensors
from helpers.tiny_parts import TRAINING, Line, Regress, Scale
from shortcut_models import Callback, Model, Stopped, Training, UserError, fit, load
from shortcut_models.models.run import Run
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching, Reflow, Shortcut
from shortcut_models.randomness import seed_of
from shortcut_models.recipes.library import RECIPES
from shortcut_models.recipes.train import train_recipe
from shortcut_models.tasks import Digits, Toy

TINY = MLPConfig(width=16, depth=1, condition_width=8)
FEW = replace(TRAINING, train_steps=6, batch_size=32, checkpoint_every=3, sample_every=3, log_every=2)
TASK = Toy(size=200)


def weights(model: Model) -> dict[str, torch.Tensor]:
    return dict(model.network.state_dict())


def test_a_configuration_is_built_with_weights_of_the_seed(tmp_path: Path) -> None:
    """As a recipe's is: the same seed gives the same run, whatever the program drew before."""
    torch.manual_seed(123)
    model = fit(TINY, Shortcut(max_steps=8), TASK, training=replace(FEW, seed=5), run=tmp_path / "config", quiet=True)
    torch.manual_seed(seed_of(5))
    network = TINY.build(TASK.shape, TASK.conditions)
    fit(network, Shortcut(max_steps=8), TASK, training=replace(FEW, seed=5), run=tmp_path / "module", quiet=True)
    assert same(tensors(tmp_path / "config"), tensors(tmp_path / "module"))
    parts = {"task": TASK, "network": TINY, "objective": Shortcut(max_steps=8), "training": replace(FEW, seed=5)}
    recipe = replace(RECIPES["four-gaussians"], **parts)
    train_recipe("four-gaussians", recipe, tmp_path / "recipe", quiet=True)
    assert same(tensors(tmp_path / "config"), tensors(tmp_path / "recipe"))
    assert same(weights(model), weights(load(tmp_path / "config")))
    other = fit(TINY, Shortcut(max_steps=8), TASK, training=replace(FEW, seed=6), quiet=True)
    assert not same(weights(model), weights(other))


def test_a_module_is_trained_in_place() -> None:
    network = TINY.build(TASK.shape, TASK.conditions)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit(network, FlowMatching(max_steps=8), TASK, training=FEW, quiet=True)
    assert not same(before, dict(network.state_dict()))


@dataclass(frozen=True)
class Unread(Line):
    """A task whose data decides something: only a resolved one has data."""

    read: bool = False

    def resolve(self) -> Unread:
        return self if self.read else replace(self, read=True)

    def dataset(self, split: str) -> Any:
        assert self.read
        return super().dataset(split)


def test_a_task_is_resolved_unless_it_was() -> None:
    task = Unread()
    model = fit(Scale(), Regress(), task, training=TRAINING, quiet=True)
    assert model.task.read  # type: ignore[attr-defined]
    resolved = task.resolve()
    assert fit(Scale(), Regress(), resolved, training=TRAINING, quiet=True).task is resolved


def test_in_memory_the_model_is_the_same_and_no_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    training = replace(FEW, snapshots=3)
    on_disk = fit(TINY, Shortcut(max_steps=8), TASK, training=training, run="run", quiet=True)
    assert (tmp_path / "run" / "snapshots").is_dir()
    os.mkdir("empty")
    monkeypatch.chdir("empty")
    in_memory = fit(TINY, Shortcut(max_steps=8), TASK, training=training)
    assert list(Path().rglob("*")) == []
    assert same(weights(on_disk), weights(in_memory))
    assert np.array_equal(on_disk.sample(8, steps=2), in_memory.sample(8, steps=2))
    assert in_memory.step == 6


def test_in_memory_a_method_learns_from_a_teacher_and_from_its_samples(tmp_path: Path) -> None:
    teacher = fit(TINY, FlowMatching(max_steps=8), TASK, training=FEW, quiet=True)
    objective = Reflow(max_steps=8, pairs=60, pair_steps=3)
    in_memory = fit(TINY, objective, TASK, training=FEW, teacher=teacher, quiet=True)
    on_disk = fit(TINY, objective, TASK, training=FEW, teacher=teacher, run=tmp_path, quiet=True)
    assert Run(tmp_path).pairs.is_dir()
    assert same(weights(on_disk), weights(in_memory))


class Events(Callback):
    def __init__(self, stop_at: int = 0, signal_at: int = 0) -> None:
        self.stop_at, self.signal_at, self.seen = stop_at, signal_at, list[str]()

    def on_step(self, trainer: Any) -> None:
        assert trainer.run is None
        if trainer.step == self.stop_at:
            trainer.stop()
        if trainer.step == self.signal_at:
            signal.raise_signal(signal.SIGTERM)

    def on_log(self, trainer: Any, line: dict[str, float | int]) -> None:
        self.seen.append("log")

    def on_save(self, trainer: Any) -> None:
        self.seen.append("save")

    def on_end(self, trainer: Any) -> None:
        self.seen.append("end")


def test_in_memory_callbacks_log_and_end_training_and_nothing_is_saved() -> None:
    events = Events(stop_at=4)
    assert fit(TINY, FlowMatching(max_steps=8), TASK, training=FEW, callbacks=[events], quiet=True).step == 4
    assert events.seen == ["log", "log", "log", "end"]  # at steps 2, 3 and 4
    with pytest.raises(Stopped, match="stopped at step 3 of 6, and not saved"):
        fit(TINY, FlowMatching(max_steps=8), TASK, training=FEW, callbacks=[Events(signal_at=2)], quiet=True)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (("mlp", Shortcut(), TASK), {}, "network must be a configuration, such as sm.MLP"),
        ((MLPConfig, Shortcut(), TASK), {}, r"not the class MLPConfig: call it, MLPConfig\(\)"),
        ((Shortcut(), TINY, TASK), {}, "the order is network, objective, task"),
        ((TINY, Shortcut, TASK), {}, r"not the class Shortcut: call it, Shortcut\(\)"),
        ((TINY, "shortcut", TASK), {}, "objective must be a method"),
        ((TINY, Shortcut(), Digits), {}, r"not the class Digits: call it, Digits\(\)"),
        ((TINY, Shortcut(), "digits"), {}, "task must be a task, such as Digits"),
        ((TINY, Shortcut(), TensorDataset(torch.zeros(3, 2))), {}, r"a data set \(TensorDataset\): wrap it, FromD"),
        ((nn.Linear(2, 2), Shortcut(), TASK), {}, "Linear.forward must take x, t and d, "),
        ((TINY, Shortcut(), TASK, Training(), "runs/mine"), {}, "and all else by name"),
        ((TINY, Shortcut(), TASK), {"training": {"train_steps": 3}}, "training must be a Training"),
        ((TINY, Shortcut(), TASK), {"run": 3}, "run must be a directory"),
        ((TINY, Shortcut(), TASK), {"teacher": "runs/teacher"}, "teacher must be a trained Model, as load"),
        ((TINY, Shortcut(), TASK), {"init": Path("runs")}, "init must be a trained Model, as load"),
        ((TINY, Shortcut(), TASK), {"callbacks": Callback()}, "callbacks must be a list"),
        ((TINY, Shortcut(), TASK), {"overwrite": True}, "overwrite removes a run"),
        ((TINY, Shortcut(), TASK), {"loggers": ["csv"]}, "logger csv writes into a run"),
        ((TINY, Shortcut(), TASK), {"loggers": "csv"}, "loggers must be a list of loggers"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_what_does_not_belong_there_is_refused_in_one_line(
    arguments: Any, named: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        fit(*arguments, **{"quiet": True, **named})
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
