"""Callbacks: what a user adds to training sees it, may change its log and end it, and changes nothing else."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.runs import same, steps_of, tensors
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, at, lines, nan_loss
from shortcut_models import Callback, Stopped, UserError, load
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training
from shortcut_models.training.trainer import Trainer

OPTIONS: dict[str, Any] = {"log_every": 3, "checkpoint_every": 5, "heldout_every": 4, "sample_every": 6, "keep": 9}


class Recorder(Callback):
    """Writes down what it is called for, and what is on the disk by then."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def on_step(self, trainer: Trainer) -> None:
        assert trainer.figures["loss"].shape == ()
        assert trainer.model.step == trainer.step
        assert (trainer.run.samples / f"step_{trainer.step:08d}.png").exists() == (trainer.step in (6, 12))
        assert trainer.step not in steps_of(trainer.run.path)  # the checkpoint comes last
        self.seen.append(("step", trainer.step))

    def on_log(self, trainer: Trainer, line: dict[str, float | int]) -> None:
        assert {"loss", "learning_rate", "steps_per_second"} <= set(line)
        line["norm_of_w"] = float(trainer.state.network.w.detach().norm())  # type: ignore[operator, union-attr]
        self.seen.append(("log", trainer.step))

    def on_save(self, trainer: Trainer) -> None:
        assert steps_of(trainer.run.path)[-1] == trainer.step
        self.seen.append(("save", trainer.step))

    def on_end(self, trainer: Trainer) -> None:
        self.seen.append(("end", trainer.step))


def go(run: Path, *callbacks: Callback, objective: Regress | None = None, **options: Any) -> Any:
    training = Training(**{**vars(TRAINING), **OPTIONS, **options})
    return fit(Scale(), objective or Regress(), Line(), run=run, training=training, callbacks=callbacks, quiet=True)


def test_every_event_comes_once_and_in_order(tmp_path: Path) -> None:
    recorder = Recorder()
    go(tmp_path / "with", recorder)
    logs, saves = {3, 4, 5, 6, 8, 9, 10, 12}, {5, 10, 12}
    expected = [
        (event, step)
        for step in range(1, 13)
        for event, due in (("log", step in logs), ("step", True), ("save", step in saves))
        if due
    ]
    assert recorder.seen == [*expected, ("end", 12)]
    assert [line["step"] for line in lines(tmp_path / "with") if "norm_of_w" in line] == sorted(logs)


def test_a_callback_that_only_looks_changes_nothing(tmp_path: Path) -> None:
    go(tmp_path / "with", Recorder())
    go(tmp_path / "without")
    assert same(tensors(tmp_path / "with"), tensors(tmp_path / "without"))
    names = lambda run: sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    assert names(tmp_path / "with") == names(tmp_path / "without")


class EarlyStop(Callback):
    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == 7:
            trainer.stop()


def test_a_callback_ends_training_with_a_checkpoint(tmp_path: Path) -> None:
    recorder = Recorder()
    model = go(tmp_path, EarlyStop(), recorder)
    assert model.step == load(tmp_path, network=Scale(), objective=Regress(), task=Line()).step == 7
    assert recorder.seen[-2:] == [("save", 7), ("end", 7)]
    assert go(tmp_path).step == 12  # without it, the run continues


class StopAtABadStep(EarlyStop):
    def on_step(self, trainer: Trainer) -> None:
        super().on_step(trainer)
        if trainer.step == 7:
            trainer.state.bad_steps_in_a_row.fill_(1)  # as after a loss that was not finite


def test_weights_that_may_be_bad_end_no_training(tmp_path: Path) -> None:
    recorder = Recorder()
    model = go(tmp_path, StopAtABadStep(), recorder)
    saved = load(tmp_path, network=Scale(), objective=Regress(), task=Line())
    assert model.step == saved.step == 8
    assert recorder.seen[-2:] == [("save", 8), ("end", 8)]
    assert same(model.network.state_dict(), saved.network.state_dict())


def test_the_random_numbers_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    go(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


class Interrupt(Callback):
    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == 7:
            signal.raise_signal(signal.SIGTERM)


def test_a_stop_by_a_signal_is_seen_too(tmp_path: Path) -> None:
    """It comes after the step's own look for signals, and so stops the next one."""
    recorder = Recorder()
    with pytest.raises(Stopped, match="stopped at step 8 of 12, and saved"):
        go(tmp_path, Interrupt(), recorder)
    assert recorder.seen[-3:] == [("step", 8), ("save", 8), ("end", 8)]


def test_a_signal_among_bad_steps_waits_for_a_good_one(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(Stopped, match="stopped at step 10 of 12"):
        go(tmp_path, Interrupt(), recorder, objective=Regress(before=at({8, 9}, nan_loss)))
    assert [step for event, step in recorder.seen if event == "save"] == [5, 10]


def test_a_checkpoint_can_be_asked_for(tmp_path: Path) -> None:
    class AtStep8(Callback):
        def on_step(self, trainer: Trainer) -> None:
            trainer.saving = trainer.saving or trainer.step == 8

    go(tmp_path, AtStep8())
    assert steps_of(tmp_path) == [5, 8, 10, 12]


def test_the_held_out_loss_is_measured_once_and_for_whom_it_asks(tmp_path: Path) -> None:
    class Best(Callback):
        losses: list[float] = []  # noqa: RUF012  # one test

        def on_step(self, trainer: Trainer) -> None:
            assert trainer.heldout_loss() == trainer.heldout_loss()
            self.losses.append(trainer.heldout_loss())

    go(tmp_path / "with", Best())
    go(tmp_path / "without")
    logged = {line["step"]: line["heldout_loss"] for line in lines(tmp_path / "with") if "heldout_loss" in line}
    assert logged == {step: Best.losses[step - 1] for step in (4, 8, 12)}
    assert same(tensors(tmp_path / "with"), tensors(tmp_path / "without"))


def test_what_a_callback_refuses_ends_training(tmp_path: Path) -> None:
    class Refuse(Callback):
        def on_save(self, trainer: Trainer) -> None:
            raise UserError("no room for a copy: choose another folder")

    with pytest.raises(UserError, match="no room for a copy"):
        go(tmp_path, Refuse())
    assert steps_of(tmp_path) == [5]
    assert torch.isfinite(load(tmp_path, network=Scale(), objective=Regress(), task=Line()).network.w).all()
