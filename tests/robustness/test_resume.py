"""Runs that were stopped, crashed or were damaged, and resumed as if nothing had happened."""

from __future__ import annotations

import functools
import math
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.runs import same, steps_of, tensors, tree
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, at, lines, train
from shortcut_models.base import Batch, Losses, Network, Objective, Task
from shortcut_models.errors import Stopped, UserError
from shortcut_models.models.run import Run
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import ConsistencyTraining, FlowMatching, ProgressiveDistillation, Shortcut
from shortcut_models.tasks import Digits
from shortcut_models.training.fit import fit

CPU = torch.device("cpu")


class Crash(BaseException):
    """As sudden as a kill, for the trainer."""


def crash(net: Network, loss: Tensor) -> Tensor:
    raise Crash


@dataclass(frozen=True)
class Crashing(Objective):
    """Another objective, which ends the process's work at one step."""

    inner: Objective = field(default_factory=Shortcut)
    step: int = 0
    count: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**6)))
    max_steps: int = 8

    def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        if torch.is_grad_enabled() and next(self.count) == self.step:
            raise Crash
        return self.inner.losses(net, target_net, batch, **context)

    def sample(self, net: Network, noise: Any, cond: Any, steps: int, *, guidance: float = 1.0) -> Any:
        return self.inner.sample(net, noise, cond, steps, guidance=guidance)


@pytest.mark.parametrize(
    ("task", "crashes"),
    [(Line(), (1,)), (Line(), (6,)), (Line(), (12,)), (Line(), (3, 3, 1)), (Digits(), (5, 4, 2, 1))],
)
def test_a_run_that_crashed_ends_as_one_that_did_not(tmp_path: Path, task: Task, crashes: tuple[int, ...]) -> None:
    def go(run: Path, step: int) -> None:
        torch.manual_seed(3)
        network = MLPConfig(width=8, depth=1).build(task.shape, task.conditions)
        training = replace(TRAINING, checkpoint_every=5, log_every=3, heldout_every=4, accumulate=2, batch_size=32)
        fit(network, Crashing(Shortcut(max_steps=8), 2 * step), task, run=run, training=training, quiet=True)

    go(tmp_path / "whole", 0)
    for step in crashes:
        with pytest.raises(Crash):
            go(tmp_path / "run", step)
    go(tmp_path / "run", 0)
    assert same(tensors(tmp_path / "run"), tensors(tmp_path / "whole"))
    kept = [
        [{name: value for name, value in line.items() if "second" not in name} for line in lines(tmp_path / name)]
        for name in ("run", "whole")
    ]
    assert kept[0] == kept[1]
    assert [line["step"] for line in kept[0]] == [3, 4, 5, 6, 8, 9, 10, 12]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    first = train(tmp_path)
    before = tree(tmp_path)
    again = train(tmp_path)
    assert tree(tmp_path) == before
    assert again.step == first.step == 12
    assert same(again.network.state_dict(), first.network.state_dict())


def test_a_constant_rate_is_trained_for_longer_as_if_at_once(tmp_path: Path) -> None:
    train(tmp_path / "parts", schedule="constant", train_steps=5)
    train(tmp_path / "parts", schedule="constant", train_steps=12)
    train(tmp_path / "whole", schedule="constant", train_steps=12)
    assert same(tensors(tmp_path / "parts"), tensors(tmp_path / "whole"))
    with pytest.raises(UserError, match="been trained for 12 steps already, more than --train-steps 8: ask for"):
        train(tmp_path / "parts", schedule="constant", train_steps=8)
    assert Run(tmp_path / "parts").read_config()["training"]["train_steps"] == 12


def test_a_cosine_gets_a_new_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, train_steps=6)
    rates = [line["learning_rate"] for line in lines(tmp_path)]
    train(tmp_path, train_steps=12, quiet=False)
    assert f"{tmp_path}: train-steps is now 12, and was 6; at step 6 the learning rate is 0." in capsys.readouterr().err
    again = [line["learning_rate"] for line in lines(tmp_path)]
    assert again[: len(rates)] == rates
    longer = replace(TRAINING, train_steps=12)
    steps = [line["step"] for line in lines(tmp_path)]
    expected = [longer.learning_rate_at(step - 1) for step in steps if step > 6]
    assert again[len(rates) :] == pytest.approx(expected)
    with pytest.raises(UserError, match="for 12 steps already, more than --train-steps 6: ask for at least as many"):
        train(tmp_path, train_steps=6)


def test_targets_with_a_schedule_go_back_on_it_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, ConsistencyTraining(max_steps=8), train_steps=6)
    train(tmp_path, ConsistencyTraining(max_steps=8), train_steps=12, quiet=False)
    assert "the targets are those of 50% of the training where they were of 100%" in capsys.readouterr().err


def test_stages_are_made_longer_only_where_the_teachers_stay_the_same(tmp_path: Path) -> None:
    teacher = train(tmp_path / "teacher", FlowMatching(max_steps=8), train_steps=2)
    progressive = functools.partial(train, objective=ProgressiveDistillation(max_steps=8), teacher=teacher)
    progressive(tmp_path / "run", train_steps=6)  # three stages of two steps
    before = tree(tmp_path / "run")
    with pytest.raises(UserError, match=r"6 of 6 steps, and is in stage 3 of 3; with 12 steps this would be stage 2"):
        progressive(tmp_path / "run", train_steps=12)
    assert tree(tmp_path / "run") == before
    progressive(tmp_path / "run", train_steps=7)  # its last stage still holds step 6


def test_a_damaged_newest_checkpoint_costs_only_time(tmp_path: Path) -> None:
    train(tmp_path / "whole", checkpoint_every=4)
    with pytest.raises(Crash):
        train(tmp_path / "run", Regress(before=at({11}, crash)), checkpoint_every=4)
    damaged = tmp_path / "run" / "checkpoints" / "00000008" / "state.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="00000008/state.safetensors is damaged .*: the checkpoint before it is used"):
        train(tmp_path / "run", checkpoint_every=4)
    assert same(tensors(tmp_path / "run"), tensors(tmp_path / "whole"))
    assert [line["step"] for line in lines(tmp_path / "run")] == [4, 8, 12]


def test_another_network_than_that_of_the_run_is_refused(tmp_path: Path) -> None:
    train(tmp_path)

    class Other(Scale):
        def __init__(self) -> None:
            super().__init__()
            self.more = nn.Linear(2, 2)

    Other.__qualname__, Other.__module__ = Scale.__qualname__, Scale.__module__
    with pytest.raises(UserError, match="00000012 does not fit this network"):
        fit(Other(), Regress(), Line(), run=tmp_path, training=TRAINING, quiet=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_and_the_run_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def ask(net: Network, loss: Tensor) -> Tensor:
        signal.raise_signal(number)
        return loss

    with pytest.raises(Stopped, match="stopped at step 7 of 12, and saved") as stopped:
        train(tmp_path / "run", Regress(before=at({7}, ask)))
    assert stopped.value.signal_number == number
    assert steps_of(tmp_path / "run") == [7]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    train(tmp_path / "run")
    train(tmp_path / "whole")
    assert same(tensors(tmp_path / "run"), tensors(tmp_path / "whole"))


def test_a_signal_in_the_last_step_changes_nothing(tmp_path: Path) -> None:
    def ask(net: Network, loss: Tensor) -> Tensor:
        signal.raise_signal(signal.SIGTERM)
        return loss

    assert train(tmp_path, Regress(before=at({12}, ask))).step == 12


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def insist(net: Network, loss: Tensor) -> Tensor:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return loss

    # Where the tests run in a shell's background, Ctrl-C is ignored from the start.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, Regress(before=at({7}, insist)), checkpoint_every=3)
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert steps_of(tmp_path) == [3, 6]


def test_a_run_that_is_asked_to_stop_waits_for_a_finite_step(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask(net: Network, loss: Tensor) -> Tensor:
        if not asked:
            signal.raise_signal(signal.SIGTERM)
        asked.append(1)
        return loss * math.nan

    with pytest.raises(Stopped, match="stopped at step 6"):
        train(tmp_path, Regress(before=at({3, 4, 5}, ask)))
    assert steps_of(tmp_path) == [6]
