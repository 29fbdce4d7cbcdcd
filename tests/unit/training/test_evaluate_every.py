"""The task's own measures while a network trains, and the best model by one of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.runs import POINTS, refusal, same, shortcut, tensors, train
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, lines
from shortcut_models import Training, UserError, fit, load
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.tasks import Toy
from shortcut_models.training.quality import EVALUATED, evaluate_samples
from shortcut_models.training.side_work import SideWork

EVERY = replace(TRAINING, evaluate_every=4, log_every=50, checkpoint_every=6, heldout_every=99, sample_every=99)
TINY = MLPConfig(width=16, depth=1, condition_width=8)


class Watch:
    def __init__(self) -> None:
        self.seen: list[tuple[int, Any]] = []

    def on_evaluate(self, trainer: Any, results: Any) -> None:
        self.seen.append((trainer.step, results))


def test_the_measures_are_those_of_the_tasks_own_evaluation(tmp_path: Path) -> None:
    task, watch = Toy(size=300), Watch()
    training = replace(EVERY, train_steps=8, batch_size=32)
    model = fit(
        TINY, FlowMatching(max_steps=8), task, run=tmp_path / "run", training=training, callbacks=[watch], quiet=True
    )
    assert [step for step, _ in watch.seen] == [4, 8]
    _, last = watch.seen[-1]
    assert list(last) == [1, 4, 8]  # at most the most steps that the method has
    expected = {
        steps: task.evaluate(model.sample(EVALUATED, steps=steps), np.full(EVALUATED, -1)) for steps in (1, 4, 8)
    }
    assert last == expected
    logged = [line for line in lines(tmp_path / "run") if "evaluate/1/sliced_wasserstein" in line]
    assert [line["step"] for line in logged] == [4, 8]
    assert logged[-1]["evaluate/8/sliced_wasserstein"] == expected[8]["sliced_wasserstein"]
    fit(TINY, FlowMatching(max_steps=8), task, run=tmp_path / "without", training=replace(training, evaluate_every=0),
        quiet=True)  # fmt: skip
    assert same(tensors(tmp_path / "run"), tensors(tmp_path / "without"))
    assert not any(name.startswith("evaluate/") for line in lines(tmp_path / "without") for name in line)


def test_evaluations_have_their_share_of_the_time() -> None:
    watch = Watch()
    fit(Scale(), Regress(), Line(), training=replace(EVERY, evaluate_every=1, side_share=0.0), callbacks=[watch],
        quiet=True)  # fmt: skip
    assert [step for step, _ in watch.seen] == [12]  # the last is always made


def test_a_long_evaluation_leaves_out_its_many_steps() -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            self.now += 20.0
            return self.now

    seen: list[Any] = []

    class Look:
        def on_end(self, trainer: Any) -> None:
            model = Model(trainer.state.ema, FlowMatching(max_steps=128), trainer.model.task)
            side = SideWork(trainer.state, trainer.training, clock=Clock())
            seen.append(list(evaluate_samples(model, side)))
            assert side.seconds > 0

    fit(TINY, FlowMatching(max_steps=8), Toy(size=300), training=replace(EVERY, train_steps=1), callbacks=[Look()],
        quiet=True)  # fmt: skip
    assert seen == [[1]]


def test_samples_that_are_not_finite_do_not_end_the_training(tmp_path: Path) -> None:
    class Spoil:
        def on_step(self, trainer: Any) -> None:
            if trainer.step == 3:
                trainer.state.ema.c.data.fill_(float("nan"))

    with pytest.warns(UserWarning, match="no evaluation of step 4: the samples are not finite"):
        assert fit(Scale(), Regress(), Line(), training=EVERY, callbacks=[Spoil()], quiet=True).step == 12


@dataclass(frozen=True)
class Best(Line):
    """A task whose samples are best at the first evaluation: only accuracy has a direction that is known."""

    values: tuple[float, ...] = (0.5, 0.9, 0.7)

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        counter = vars(self).setdefault("_count", [0])
        counter[0] += 1
        return {"accuracy": self.values[(counter[0] - 1) // 2]}  # in 1 and in 4 steps


def best(run: Path) -> Model:
    return load(run, checkpoint="best", network=Scale(), objective=Regress(), task=Line())


def test_the_best_model_is_kept_beside_the_newest(tmp_path: Path) -> None:
    at_8: dict[str, Any] = {}

    class Keep:
        def on_step(self, trainer: Any) -> None:
            if trainer.step == 8:
                at_8.update({name: value.clone() for name, value in trainer.state.ema.state_dict().items()})

    training = replace(EVERY, keep_best="accuracy", keep=1)
    fit(Scale(), Regress(), Best(), run=tmp_path, training=training, callbacks=[Keep()], quiet=True)
    found = best(tmp_path)
    assert found.step == 8
    assert same(dict(found.network.state_dict()), at_8)
    assert load(tmp_path, network=Scale(), objective=Regress(), task=Line()).step == 12
    parts: Any = {"network": Scale(), "objective": Regress(), "task": Line()}
    assert load(tmp_path / "checkpoints" / "best", **parts).step == 8
    assert load(tmp_path, checkpoint=12, **parts).step == load(tmp_path, checkpoint="00000012", **parts).step == 12
    for name in (8, "newest", "../best", -1):
        with refusal(f"does not have a checkpoint {name!r}: choose one of 12, best"):
            load(tmp_path, checkpoint=name, **parts)


def test_a_run_that_resumes_keeps_the_best(tmp_path: Path) -> None:
    training = replace(EVERY, keep_best="evaluate/4/accuracy")
    fit(Scale(), Regress(), Best(values=(0.9,)), run=tmp_path, training=replace(training, train_steps=4), quiet=True)
    fit(Scale(), Regress(), Best(values=(0.5, 0.6)), run=tmp_path, training=training, quiet=True)
    assert best(tmp_path).step == 4
    other = replace(training, train_steps=16)
    fit(Scale(), Regress(), Best(values=(0.95,)), run=tmp_path, training=other, quiet=True)
    assert best(tmp_path).step == 16


def test_the_held_out_loss_needs_no_evaluation(tmp_path: Path) -> None:
    training = replace(TRAINING, heldout_every=3, keep_best="heldout_loss")
    fit(Scale(), Regress(), Line(), run=tmp_path, training=training, quiet=True)
    losses = {line["step"]: line["heldout_loss"] for line in lines(tmp_path) if "heldout_loss" in line}
    assert best(tmp_path).step == min(losses, key=lambda step: losses[step])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_best": "accuracy", "evaluate_every": 0}, "keep-best accuracy is measured by evaluations: pass --eval"),
        ({"keep_best": "mean"}, "keep-best mean: nothing says which way it is good; choose one of heldout_loss, acc"),
        ({"keep_best": "evaluate/1/mean"}, "nothing says which way it is good"),
    ],
)
def test_a_figure_that_cannot_be_compared_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with refusal(message):
        fit(Scale(), Regress(), Line(), run=tmp_path / "run", training=replace(EVERY, **options), quiet=True)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_measure_that_the_task_does_not_have_is_named(tmp_path: Path) -> None:
    training = replace(EVERY, keep_best="fid", train_steps=4)
    with refusal("keep-best: evaluate/1/fid is not measured for this task: choose one of evaluate/1/mean, evaluate/4/"):
        fit(Scale(), Regress(), Line(), run=tmp_path, training=training, quiet=True)
    with pytest.raises(UserError, match="does not have a checkpoint 'best'"):
        best(tmp_path)


def test_the_command_evaluates_and_keeps_the_best_one(tmp_path: Path) -> None:
    words = ("--evaluate-every", 4, "--keep-best", "sliced_wasserstein", "--train-steps", 8)
    train(tmp_path / "run", *words, options=POINTS)
    values = {
        line["step"]: line["evaluate/1/sliced_wasserstein"]
        for line in lines(tmp_path / "run")
        if "evaluate/1/sliced_wasserstein" in line
    }
    assert set(values) == {4, 8}
    assert load(tmp_path / "run", checkpoint="best").step == min(values, key=lambda step: values[step])
    made = shortcut("sample", tmp_path / "run/checkpoints/best", "--num", 4, "--out", tmp_path / "points.npz")
    assert made.code == 0, made.err
    # Neither option changes the weights, so a run may change them when it resumes.
    train(tmp_path / "run", "--train-steps", 8, options=POINTS)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["keep_best"] is None


def test_training_in_memory_keeps_no_best() -> None:
    training = Training(**{**vars(EVERY), "keep_best": "heldout_loss"})
    with refusal("keep-best writes into a run: pass run, or leave keep_best out"):
        fit(Scale(), Regress(), Line(), training=training, quiet=True)
