"""The trainer against closed forms and a plain reference: its steps, its log, its precision, and parts from outside."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.runs import DIGITS, fork, same, tensors, tree
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, at, lines, train
from shortcut_models.errors import UserError
from shortcut_models.models.loading import load
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.system.machine import torch_device
from shortcut_models.training.batches import IndexStream
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training
from shortcut_models.training.state import State
from shortcut_models.training.step import heldout_loss

CPU = torch.device("cpu")


# The arithmetic of a step


def test_the_learning_rate_rises_and_then_follows_half_a_cosine() -> None:
    training = Training(train_steps=110, warmup=10, learning_rate=2.0)
    assert [training.learning_rate_at(step) for step in (0, 4, 9)] == [0.2, 1.0, 2.0]
    assert training.learning_rate_at(10) == 2.0
    assert training.learning_rate_at(35) == pytest.approx(1 + math.sqrt(0.5))
    assert training.learning_rate_at(60) == pytest.approx(1)
    assert training.learning_rate_at(109) == pytest.approx(2 * math.sin(math.pi / 200) ** 2)
    rates = [training.learning_rate_at(step) for step in range(110)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_constant_learning_rate_rises_and_stays() -> None:
    training = Training(train_steps=50, warmup=4, learning_rate=1.0, schedule="constant")
    assert [training.learning_rate_at(step) for step in (0, 1, 2, 3, 4, 49, 10**9)] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert replace(training, warmup=0).learning_rate_at(0) == 1
    assert replace(training, warmup=100).learning_rate_at(49) == 0.5


def test_snapshots_are_even_on_a_logarithmic_scale() -> None:
    assert Training(train_steps=64, snapshots=7).snapshot_steps() == {1, 2, 4, 8, 16, 32, 64}
    assert Training(train_steps=64, snapshots=1).snapshot_steps() == {64}
    assert Training(train_steps=64).snapshot_steps() == set()
    assert Training(train_steps=3, snapshots=60).snapshot_steps() == {1, 2, 3}


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
    training = replace(TRAINING, clip=0.3, weight_decay=0.2, beta1=0.8, ema=0.5, keep=12, checkpoint_every=1)
    fit(Scale(), Regress(), Line(), run=tmp_path / "run", training=training, quiet=True)
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
    training = replace(TRAINING, ema=0.9, target_ema=0.6)
    state = State.new(Scale(), Shortcut(), training, CPU)
    with torch.no_grad():
        for parameter in state.network.parameters():
            parameter.fill_(1.0)
        for module in (state.ema, state.target_net):
            for parameter in module.parameters():
                parameter.fill_(0.0)
    kept = {"ema": 1.0, "target_net": 1.0}
    for step in range(200):
        state.step = step
        state.average(training)
        for name, longest in (("ema", 0.9), ("target_net", 0.6)):
            kept[name] *= min(longest, (1 + step) / (10 + step))
            assert getattr(state, name).c.item() == pytest.approx(1 - kept[name], abs=1e-6)


def test_buffers_are_copied_into_the_averages() -> None:
    state = State.new(Scale(), Shortcut(), TRAINING, CPU)
    state.network.calls += 5  # type: ignore[operator]
    state.average(TRAINING)
    assert state.ema.calls == state.target_net.calls == 5


def test_a_method_without_teacher_keeps_none() -> None:
    state = State.new(Scale(), FlowMatching(), TRAINING, CPU)
    assert state.target_net is state.network
    assert not any(name.startswith("target_net") for name in state.tensors())


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
    train(tmp_path / "run", train_steps=1, clip=1e-3)
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
    fit(
        network,
        Shortcut(max_steps=8),
        Line(),
        run=tmp_path / "run",
        training=replace(TRAINING, batch_size=32),
        quiet=True,
    )
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


@pytest.mark.needs_extra
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
    fit(network, Shortcut(max_steps=8), Line(), run=tmp_path, training=training, quiet=True)
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
        train(tmp_path / "run", task=Line(points), train_steps=30)


def test_snapshots_hold_the_same_noises_under_every_budget(tmp_path: Path) -> None:
    network = MLPConfig(width=8, depth=1).build((2,), {})
    training = replace(TRAINING, snapshots=3)
    model = fit(network, Shortcut(max_steps=8), Line(), run=tmp_path, training=training, quiet=True)
    files = sorted(os.listdir(tmp_path / "snapshots"))
    assert files == ["step_00000001.npz", "step_00000003.npz", "step_00000012.npz"]
    first, last = (np.load(tmp_path / "snapshots" / files[i]) for i in (0, -1))
    assert last["ema"].shape == (4, 256, 2)
    assert last["raw"].shape == last["noise"].shape == (256, 2)
    assert np.array_equal(first["noise"], last["noise"])
    np.testing.assert_allclose(last["ema"][0], model.sample_from(torch.tensor(last["noise"]), 1), rtol=1e-5, atol=1e-6)


def test_devices_that_are_not_there_are_named() -> None:
    for name in ("cuda:99", "warp-drive", "meta", "", "mps:7"):
        with pytest.raises(UserError, match="is not available here"):
            torch_device(name)
    assert torch_device("cpu") == CPU


def test_a_gpu_of_another_make_is_taken_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the one of a Mac, which has no float64."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert torch_device("auto") == CPU


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
