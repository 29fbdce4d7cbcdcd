"""The trainer against closed forms and a plain reference, and its behaviour when steps fail or the run is stopped."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from shortcut_models.base import Batch, Losses, Network, Objective, Task
from shortcut_models.errors import Stopped, UserError
from shortcut_models.model import Model, load
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.runs import Run
from shortcut_models.state import State
from shortcut_models.tasks import Digits
from shortcut_models.tasks.arrays import ArrayDataset
from shortcut_models.train import PATIENCE, fit, heldout_loss, train_step
from shortcut_models.training import Training
from tiny import DIGITS, fork, same, steps_of, tensors, tree

CPU = torch.device("cpu")
TRAINING = Training(steps=12, batch_size=8, learning_rate=0.05, warmup=4, precision="fp32", device="cpu")


class Scale(Network):
    """v = w * x + c: two numbers to learn, and nothing that could hide a mistake."""

    def __init__(self, w: float = 0.3) -> None:
        super().__init__()
        self.w, self.c = nn.Parameter(torch.tensor([w, -w])), nn.Parameter(torch.tensor(0.1))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
        return self.w * x + self.c


@dataclass(frozen=True)
class Regress(Objective):
    """Learn to double the data: without noise, so that any split of a batch gives the same gradient."""

    uses_teacher: ClassVar[bool] = False
    max_steps: int = 4
    before: Callable[[Network, Tensor], Tensor] = lambda net, loss: loss
    """called with each training batch's network and loss; what it returns is the loss"""

    def losses(self, net: Network, teacher: Network, batch: Batch) -> Losses:
        zeros = torch.zeros(len(batch))
        loss = (net(batch.data, zeros, zeros) - 2 * batch.data).square().mean(1)
        return Losses(self.before(net, loss) if torch.is_grad_enabled() else loss, {"flow": loss.detach()})

    def sample(self, net: Network, noise: Any, cond: Any, steps: int, *, guidance: float = 1.0) -> Any:
        with torch.no_grad():
            return net(noise, torch.zeros(len(noise)), torch.zeros(len(noise)))


@dataclass(frozen=True)
class Line(Task):
    """A task from outside the package: 48 points, of which the last 8 are held out."""

    points: Any = field(default_factory=lambda: torch.linspace(-1, 1, 96).reshape(48, 2))

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def dataset(self, split: str) -> ArrayDataset:
        return ArrayDataset(self.points[:40] if split == "train" else self.points[40:], {})

    def encode(self, raw: Tensor) -> Any:
        return raw

    def decode(self, x: Any) -> np.ndarray:
        return x.numpy()

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return {"mean": float(samples.mean())}

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        return Image.new("RGB", (8, 8))


def at(steps: set[int], act: Callable[[Network, Tensor], Tensor]) -> Callable[[Network, Tensor], Tensor]:
    """`act` at these steps (1 is the first) of a run that is not accumulated, and nothing at the others."""
    count = iter(range(1, 10**6))
    return lambda net, loss: act(net, loss) if next(count) in steps else loss


def nan_loss(net: Network, loss: Tensor) -> Tensor:
    return loss * math.nan


def infinite_gradient(net: Network, loss: Tensor) -> Tensor:
    """A finite loss whose gradient is not: the root has no slope at 0."""
    return loss.detach() + (loss - loss.detach()).sqrt()


def train(run: Path, objective: Objective | None = None, task: Task | None = None, **options: Any) -> Model:
    training = replace(TRAINING, **options)
    return fit(Scale(), objective or Regress(), task or Line(), training, run, quiet=True)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# The arithmetic of a step


def test_the_learning_rate_rises_and_then_follows_half_a_cosine() -> None:
    training = Training(steps=110, warmup=10, learning_rate=2.0)
    assert [training.learning_rate_at(step) for step in (0, 4, 9)] == [0.2, 1.0, 2.0]
    assert training.learning_rate_at(10) == 2.0
    assert training.learning_rate_at(35) == pytest.approx(1 + math.sqrt(0.5))
    assert training.learning_rate_at(60) == pytest.approx(1)
    assert training.learning_rate_at(109) == pytest.approx(2 * math.sin(math.pi / 200) ** 2)
    rates = [training.learning_rate_at(step) for step in range(110)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_constant_learning_rate_rises_and_stays() -> None:
    training = Training(steps=50, warmup=4, learning_rate=1.0, schedule="constant")
    assert [training.learning_rate_at(step) for step in (0, 1, 2, 3, 4, 49, 10**9)] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert replace(training, warmup=0).learning_rate_at(0) == 1
    assert replace(training, warmup=100).learning_rate_at(49) == 0.5


def test_snapshots_are_even_on_a_logarithmic_scale() -> None:
    assert Training(steps=64, snapshots=7).snapshot_steps() == {1, 2, 4, 8, 16, 32, 64}
    assert Training(steps=64, snapshots=1).snapshot_steps() == {64}
    assert Training(steps=64).snapshot_steps() == set()
    assert Training(steps=3, snapshots=60).snapshot_steps() == {1, 2, 3}


def by_hand(steps: int, training: Training, order: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """AdamW with clipping and the averages, in float64 and from the textbook: weights and their average."""
    x = Line().points.double().numpy()
    weights = np.array([0.3, -0.3, 0.1])
    average, mean, square = weights.copy(), np.zeros(3), np.zeros(3)
    for step in range(steps):
        batch = x[order[step]]
        error = weights[:2] * batch + weights[2] - 2 * batch
        gradient = np.array([*(2 * error * batch).mean(0) / 2, (2 * error).mean()])
        gradient *= min(1, training.clip / (np.linalg.norm(gradient) + 1e-6))
        mean = training.beta1 * mean + (1 - training.beta1) * gradient
        square = training.beta2 * square + (1 - training.beta2) * gradient**2
        rate = training.learning_rate_at(step)
        weights = weights * (1 - rate * training.weight_decay)
        corrected = np.sqrt(square / (1 - training.beta2 ** (step + 1))) + 1e-8
        weights = weights - rate * mean / (1 - training.beta1 ** (step + 1)) / corrected
        decay = min(training.ema, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights
    return weights, average


def test_training_is_adamw_with_clipping_and_an_average(tmp_path: Path) -> None:
    from shortcut_models.data import IndexStream

    training = replace(TRAINING, clip=0.3, weight_decay=0.2, beta1=0.8, ema=0.5, keep=12, checkpoint_every=1)
    fit(Scale(), Regress(), Line(), training, tmp_path / "run", quiet=True)
    order = list(IndexStream(40, 8, 0, 0, 12))
    for steps in (1, 2, 7, 12):
        weights, average = by_hand(steps, training, order)
        found = tensors(tmp_path / "run", steps)
        assert [*found["network.w"].tolist(), found["network.c"].item()] == pytest.approx(weights, abs=2e-6)
        assert [*found["ema.w"].tolist(), found["ema.c"].item()] == pytest.approx(average, abs=2e-6)


@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_a_batch_in_parts_is_the_batch(tmp_path: Path, accumulate: int) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "parts", accumulate=accumulate)
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-7)
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "parts"), strict=True):
        assert {k: v for k, v in a.items() if "second" not in k} == pytest.approx(
            {k: v for k, v in b.items() if "second" not in k}, rel=1e-5
        )


def test_averages_forget_the_start_as_their_decays_say() -> None:
    training = replace(TRAINING, ema=0.9, teacher_ema=0.6)
    state = State.new(Scale(), Shortcut(), training, CPU)
    with torch.no_grad():
        for parameter in state.network.parameters():
            parameter.fill_(1.0)
        for module in (state.ema, state.teacher):
            for parameter in module.parameters():
                parameter.fill_(0.0)
    kept = {"ema": 1.0, "teacher": 1.0}
    for step in range(200):
        state.step = step
        state.average(training)
        for name, longest in (("ema", 0.9), ("teacher", 0.6)):
            kept[name] *= min(longest, (1 + step) / (10 + step))
            assert getattr(state, name).c.item() == pytest.approx(1 - kept[name], abs=1e-6)


def test_buffers_are_copied_into_the_averages() -> None:
    state = State.new(Scale(), Shortcut(), TRAINING, CPU)
    state.network.calls += 5  # type: ignore[operator]
    state.average(TRAINING)
    assert state.ema.calls == state.teacher.calls == 5


def test_a_method_without_teacher_keeps_none() -> None:
    state = State.new(Scale(), FlowMatching(), TRAINING, CPU)
    assert state.teacher is state.network
    assert not any(name.startswith("teacher") for name in state.tensors())


# What is logged


def test_the_log_says_what_happened(tmp_path: Path) -> None:
    train(tmp_path / "run", log_every=1, checkpoint_every=1, keep=12, heldout_every=5)
    found = lines(tmp_path / "run")
    assert [line["step"] for line in found] == list(range(1, 13))
    assert [line["step"] for line in found if "heldout_loss" in line] == [5, 10, 12]
    for line in found:
        held = tensors(tmp_path / "run", line["step"])
        norm = math.sqrt(sum(float(held[f"network.{name}"].square().sum()) for name in "wc"))
        assert line["parameter_norm"] == pytest.approx(norm, rel=1e-6)
        assert line["learning_rate"] == TRAINING.learning_rate_at(line["step"] - 1)
        assert line["skipped"] == 0
        assert line["flow"] == pytest.approx(line["loss"], rel=1e-6)
    x = Line().points[40:]
    held = tensors(tmp_path / "run", 12)
    error = held["ema.w"] * x + held["ema.c"] - 2 * x
    assert found[-1]["heldout_loss"] == pytest.approx(float(error.square().mean()), rel=1e-6)
    assert found[-1]["heldout_loss"] < found[4]["heldout_loss"]


def test_the_first_gradient_norm_is_the_true_one(tmp_path: Path) -> None:
    from shortcut_models.data import IndexStream

    train(tmp_path / "run", steps=1, clip=1e-3)
    x = Line().points[next(iter(IndexStream(40, 8, 0, 0, 1)))].double()
    w, c = torch.tensor([0.3, -0.3], dtype=torch.float64), 0.1
    error = w * x + c - 2 * x
    gradient = torch.stack([*(error * x).mean(0), 2 * error.mean()])
    assert lines(tmp_path / "run")[0]["gradient_norm"] == pytest.approx(gradient.norm().item(), rel=1e-6)
    assert lines(tmp_path / "run")[0]["loss"] == pytest.approx(error.square().mean().item(), rel=1e-6)


def test_held_out_loss_is_drawn_alike_every_time() -> None:
    torch.manual_seed(0)
    training = replace(TRAINING, batch_size=7)
    state = State.new(MLPConfig(width=8, depth=1).build((2,), {}), Shortcut(), training, CPU)
    first = heldout_loss(state, Line().dataset("test"), Line(), training)
    torch.rand(100)
    assert heldout_loss(state, Line().dataset("test"), Line(), training) == first
    assert heldout_loss(state, Line().dataset("test"), Line(), replace(training, seed=1)) != first


def test_loss_is_logged_for_each_level(tmp_path: Path) -> None:
    network = MLPConfig(width=8, depth=1).build((2,), {})
    fit(network, Shortcut(max_steps=8), Line(), replace(TRAINING, batch_size=32), tmp_path / "run", quiet=True)
    assert {"loss", "flow", "d=1/1", "d=1/2", "d=1/4"} <= lines(tmp_path / "run")[-1].keys()


def test_lines_are_json_for_any_reader(tmp_path: Path) -> None:
    """Infinite figures are left out, as JSON has none."""
    objective = Regress(before=at({3, 7}, lambda net, loss: loss * math.inf))
    train(tmp_path / "run", objective, log_every=1)

    def refuse(text: str) -> None:
        raise AssertionError(text)

    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line, parse_constant=refuse)
        assert ("loss" in values) == (values["step"] not in (3, 7))


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs the extra tensorboard")
def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path / "run", log_every=3, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(line["step"], pytest.approx(line["loss"])) for line in lines(tmp_path / "run")]


# Steps that are not finite


@pytest.mark.parametrize("fault", [nan_loss, infinite_gradient])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(
    tmp_path: Path, fault: Callable[[Network, Tensor], Tensor]
) -> None:
    objective = Regress(before=at({1, 5, 6}, fault))
    train(tmp_path / "run", objective, log_every=1, checkpoint_every=1, keep=12, ema=0.0)
    assert steps_of(tmp_path / "run") == [2, 3, 4, 7, 8, 9, 10, 11, 12]
    assert [line["skipped"] for line in lines(tmp_path / "run")] == [1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3]
    final = tensors(tmp_path / "run")
    assert int(final["optimizer.0.step"]) == 9
    assert int(final["skipped"]) == 3
    assert int(final["streak"]) == 0


@pytest.mark.parametrize("fault", [nan_loss, infinite_gradient])
def test_the_weights_of_a_skipped_step_are_those_before(fault: Callable[[Network, Tensor], Tensor]) -> None:
    objective = Regress(before=at({3, 4}, fault))
    state, raw = State.new(Scale(), objective, TRAINING, CPU), Line().dataset("train")
    seen = []
    for step in range(5):
        train_step(state, raw.__getitems__(list(range(step, step + 8))), Line(), TRAINING)
        learnt = {name: value.clone() for name, value in state.tensors().items() if name[:3] in ("net", "opt")}
        seen.append(learnt)
    assert same(seen[1], seen[2])
    assert same(seen[1], seen[3])
    assert not same(seen[0], seen[1])
    assert not torch.equal(seen[3]["network.w"], seen[4]["network.w"])
    assert torch.isfinite(torch.cat([value.flatten() for value in seen[4].values()])).all()


def test_a_part_that_is_not_finite_skips_the_whole_step(tmp_path: Path) -> None:
    objective = Regress(before=at({6}, nan_loss))  # the second part of the third step
    train(tmp_path / "run", objective, accumulate=2, log_every=1)
    assert [line["skipped"] for line in lines(tmp_path / "run")][:4] == [0, 0, 1, 1]


def test_ten_in_a_row_end_the_run_and_the_last_good_checkpoint_stays(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(whole, steps=30, checkpoint_every=4, keep=20)
    objective = Regress(before=at(set(range(8, 31)), nan_loss))
    with pytest.raises(UserError, match=f"not finite in {PATIENCE} steps in a row, up to step 17: .* --learning-rate"):
        train(tmp_path / "run", objective, steps=30, checkpoint_every=4, keep=1)
    assert steps_of(tmp_path / "run") == [4]
    assert same(tensors(tmp_path / "run", 4), tensors(whole, 4))
    with pytest.raises(UserError, match="not finite"):
        train(tmp_path / "run", Regress(before=at(set(range(4, 31)), nan_loss)), steps=30, checkpoint_every=4, keep=1)
    assert steps_of(tmp_path / "run") == [4]


def test_nine_in_a_row_do_not_end_a_run(tmp_path: Path) -> None:
    bad = set(range(2, 11)) | set(range(12, 21))
    train(tmp_path / "run", Regress(before=at(bad, nan_loss)), steps=24)
    assert lines(tmp_path / "run")[-1]["skipped"] == 18


def test_ten_in_a_row_are_counted_across_a_resumption(tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    def crash(net: Network, loss: Tensor) -> Tensor:
        raise Crash

    def act(net: Network, loss: Tensor) -> Tensor:
        return nan_loss(net, loss)

    with pytest.raises(Crash):
        train(tmp_path / "run", Regress(before=at({9}, crash)), steps=30, checkpoint_every=2)
    assert steps_of(tmp_path / "run") == [4, 6, 8]
    with pytest.raises(UserError, match="up to step 18"):
        train(tmp_path / "run", Regress(before=at(set(range(1, 30)), act)), steps=30, checkpoint_every=2)
    assert steps_of(tmp_path / "run") == [4, 6, 8]


def test_a_fault_in_the_last_step_is_survived_where_the_weights_are_sound(tmp_path: Path) -> None:
    train(tmp_path / "run", Regress(before=at({12}, nan_loss)), checkpoint_every=5)
    assert steps_of(tmp_path / "run") == [5, 10, 12]


def test_weights_that_are_spoilt_at_the_end_replace_no_checkpoint(tmp_path: Path) -> None:
    def spoil(net: Network, loss: Tensor) -> Tensor:
        with torch.no_grad():
            net.c.fill_(math.inf)  # type: ignore[operator]
        return loss * math.nan

    with pytest.raises(UserError, match="not finite in 1 steps in a row"):
        train(tmp_path / "run", Regress(before=at({12}, spoil)), checkpoint_every=5, keep=1)
    assert steps_of(tmp_path / "run") == [10]


def test_pictures_of_a_network_that_diverges_do_not_stop_it(tmp_path: Path) -> None:
    def spoil(net: Network, loss: Tensor) -> Tensor:
        with torch.no_grad():
            net.c.fill_(math.inf)  # type: ignore[operator]
        return loss * math.nan

    with (
        pytest.warns(UserWarning, match=r"no picture of step \d+: the samples are not finite"),
        pytest.raises(UserError, match="in a row, up to step 14"),
    ):
        train(tmp_path / "run", Regress(before=at({5}, spoil)), steps=20, sample_every=1)
    assert sorted(os.listdir(tmp_path / "run" / "samples"))[-1] == "step_00000004.png"


# Going on


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

    def losses(self, net: Network, teacher: Network, batch: Batch) -> Losses:
        if torch.is_grad_enabled() and next(self.count) == self.step:
            raise Crash
        return self.inner.losses(net, teacher, batch)

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
        fit(network, Crashing(Shortcut(max_steps=8), 2 * step), task, training, run, quiet=True)

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
    train(tmp_path / "parts", schedule="constant", steps=5)
    train(tmp_path / "parts", schedule="constant", steps=12)
    train(tmp_path / "whole", schedule="constant", steps=12)
    assert same(tensors(tmp_path / "parts"), tensors(tmp_path / "whole"))
    with pytest.raises(UserError, match="has been trained for 12 steps already: ask for more"):
        train(tmp_path / "parts", schedule="constant", steps=8)
    assert Run(tmp_path / "parts").read_config()["training"]["steps"] == 12


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
        fit(Other(), Regress(), Line(), TRAINING, tmp_path, quiet=True)


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

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Regress(before=at({7}, insist)), checkpoint_every=3)
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


# Precision, processes and parts from outside


def test_weights_and_metrics_are_the_same_with_processes_that_read(tmp_path: Path) -> None:
    for workers in (0, 2):
        train(tmp_path / str(workers), workers=workers, log_every=2)
    assert same(tensors(tmp_path / "0"), tensors(tmp_path / "2"))
    alone, helped = lines(tmp_path / "0"), lines(tmp_path / "2")
    for a, b in zip(alone, helped, strict=True):
        assert {k: v for k, v in a.items() if "second" not in k} == {k: v for k, v in b.items() if "second" not in k}


def test_half_precision_is_for_the_arithmetic_alone(tmp_path: Path) -> None:
    network = MLPConfig(width=8, depth=1).build((2,), {})
    training = replace(TRAINING, precision="bf16", learning_rate=1e-3)
    fit(network, Shortcut(max_steps=8), Line(), training, tmp_path, quiet=True)
    floats = [value for value in tensors(tmp_path).values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float32}
    assert lines(tmp_path)[-1]["skipped"] == 0


def test_every_part_may_come_from_outside_the_package(tmp_path: Path) -> None:
    made = train(tmp_path / "run")
    for name, given in (
        ("task", {}),
        ("objective", {"task": Line()}),
        ("network", {"task": Line(), "objective": Regress()}),
    ):
        with pytest.raises(UserError, match=f"this model's {name} is .*, from outside the package: pass .*{name}="):
            load(tmp_path / "run", **given)
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "00000012" / "model.safetensors"):
        found = load(path, network=Scale(w=9.0), objective=Regress(), task=Line())
        assert found.step == 12
        assert np.array_equal(found.sample(5, steps=2), made.sample(5, steps=2))


def test_a_task_without_data_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for rows, split in ((0, "train"), (40, "test")):
        with pytest.raises(UserError, match=f"there is no {split} data"):
            train(tmp_path / "run", task=Line(torch.zeros(rows, 2)))
    assert tree(tmp_path) == {}


def test_data_with_nan_ends_the_run_with_a_hint(tmp_path: Path) -> None:
    points = torch.zeros(48, 2)
    points[::4] = math.nan
    with pytest.raises(UserError, match="look for bad values in the data"):
        train(tmp_path / "run", task=Line(points), steps=30)


def test_snapshots_hold_the_same_noises_under_every_budget(tmp_path: Path) -> None:
    network = MLPConfig(width=8, depth=1).build((2,), {})
    training = replace(TRAINING, snapshots=3)
    model = fit(network, Shortcut(max_steps=8), Line(), training, tmp_path, quiet=True)
    files = sorted(os.listdir(tmp_path / "snapshots"))
    assert files == ["step_00000001.npz", "step_00000003.npz", "step_00000012.npz"]
    first, last = (np.load(tmp_path / "snapshots" / files[i]) for i in (0, -1))
    assert last["ema"].shape == (4, 256, 2)
    assert last["raw"].shape == last["noise"].shape == (256, 2)
    assert np.array_equal(first["noise"], last["noise"])
    np.testing.assert_allclose(last["ema"][0], model.generate(torch.tensor(last["noise"]), 1), rtol=1e-5, atol=1e-6)


def test_devices_that_are_not_there_are_named() -> None:
    for name in ("cuda:99", "warp-drive", "meta", "", "mps:7"):
        with pytest.raises(UserError, match="is not available here"):
            Training(device=name).torch_device()
    assert Training(device="cpu").torch_device() == CPU


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_agrees(tmp_path: Path) -> None:
    for name in ("off", "on"):
        process = fork((*DIGITS, "--run", tmp_path / name, "--compile", name, "--learning-rate", 1e-3))
        process.join()
        assert process.exitcode == 0
    plain, compiled = tensors(tmp_path / "off"), tensors(tmp_path / "on")
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-5)
