"""What is said before a training: measured without a trace in it, and in few rows where a step takes long."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.runs import DIGITS, POINTS, Outcome, same, shortcut, tensors
from helpers.tiny_parts import TRAINING, Line, Regress, Scale
from shortcut_models.base import Batch
from shortcut_models.models.run import Run
from shortcut_models.system.distributed import ALONE
from shortcut_models.training import plan
from shortcut_models.training.fit import fit
from shortcut_models.training.plan import ENOUGH, Plan, TimeLimit, advice, describe, describe_time, seconds_of


class Machine:
    """One whose steps take `fixed` seconds and `each` for a row, on a clock of its own."""

    def __init__(self, fixed: float, each: float, first: float = 0.0) -> None:
        self.fixed, self.each, self.first, self.now, self.sizes = fixed, each, first, 0.0, list[int]()

    def clock(self) -> float:
        return self.now

    def step(self, rows: int) -> None:
        self.now += self.fixed + self.each * rows + (0 if self.sizes else self.first)
        self.sizes.append(rows)


@pytest.mark.parametrize(
    ("fixed", "each", "first", "rows"),
    [
        (0.001, 0.0, 0.5, 512),  # quick, after a first step that prepares much
        (0.01, 0.001, 0.1, 128),
        (0.1, 0.02, 0.1, 128),  # a step of 2.7 s
        (0.0, 0.67, 0.0, 128),  # a step of 86 s
        (0.0, 0.67, 0.0, 1),
        (0.5, 0.1, 0.0, 3),
    ],
)
def test_a_step_is_measured_in_seconds_that_hardly_delay_it(fixed: float, each: float, first: float, rows: int) -> None:
    machine = Machine(fixed, each, first)
    found, true = seconds_of(machine.step, rows, machine.clock), fixed + each * rows
    assert found == pytest.approx(true, rel=0.01)
    assert machine.now <= 2 * ENOUGH + first + fixed + 8 * each  # one step of few rows may take longer
    assert max(machine.sizes) <= rows


@pytest.mark.parametrize("steps", [1, 12, 200, 3200])
def test_a_short_training_is_not_held_up(steps: int) -> None:
    machine = Machine(0.0, 0.0002)
    assert seconds_of(machine.step, 512, machine.clock, steps) == pytest.approx(0.1024)
    assert machine.now <= 0.04 * steps * 0.1024 + 2 * 8 * 0.0002  # two steps of few rows are always taken


def test_one_first_step_that_took_long_is_not_all_there_is() -> None:
    machine = Machine(0.01, 0.001, first=1.0)
    assert seconds_of(machine.step, 64, machine.clock) == pytest.approx(0.074)


def config(image_size: int | None = None, network: str = "mlp") -> dict[str, Any]:
    task = {"name": "toy"} if image_size is None else {"name": "images", "image_size": image_size}
    return {"task": task, "network": {"name": network}, "objective": {"name": "shortcut"}, "data": ""}


def test_texts() -> None:
    assert describe(config(), 1234567, TRAINING, 12) == (
        "to train: network mlp, 1,234,567 parameters, by shortcut; 12 steps, batch 8"
    )
    assert "; 5 of 12 steps left, batch 8" in describe(config(), 10, TRAINING, 5)
    own = {**config(), "network": {"name": None, "class": "mine.Net"}}
    assert "network mine.Net," in describe(own, 10, TRAINING, 5)
    said = "time on this CPU: about 477 h 46 min, 1 min 26 s a step; previews and held-out losses take"
    assert describe_time(86.0, 20_000, 0.05, "this CPU") == f"{said} at most 23 h 53 min more"
    assert describe_time(86.0, 20_000, 1.0, "this CPU") == f"{said} more"


@pytest.mark.parametrize(
    ("image_size", "network", "named", "unnamed"),
    [
        (128, "dit", ["--task.image-size below 128", "--network unet"], ["smaller --network"]),
        (32, "unet", ["--task.image-size below 32", "a smaller --network"], ["--network unet"]),
        (None, "mlp", ["a smaller --network"], ["image-size", "unet"]),
    ],
)
def test_advice_names_options_that_the_training_has(
    image_size: int | None, network: str, named: list[str], unnamed: list[str]
) -> None:
    found = advice(7200.0, *(config(image_size, network)[part] for part in ("task", "network")))
    assert "2 h 0 min" in found
    for option in ["--minutes", "--train-steps", *named]:
        assert option in found
    assert not any(option in found for option in unnamed)


def test_nothing_of_the_training_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [shortcut(*options, "--run", tmp_path / f"with{i}") for i, options in enumerate((DIGITS, POINTS))]
    monkeypatch.setattr(plan, "measure", lambda *args, **options: 1.0)
    for i, options in enumerate((DIGITS, POINTS)):
        shortcut(*options, "--run", tmp_path / f"without{i}")
        assert same(tensors(tmp_path / f"with{i}"), tensors(tmp_path / f"without{i}"))
        assert "to train: network mlp, " in said[i].err
        assert "time on this CPU: about " in said[i].err
        assert "warning" not in said[i].err


def test_buffers_random_numbers_and_data_are_as_without(tmp_path: Path) -> None:
    class Counted(Line):
        def encode(self, raw: Tensor) -> Any:
            return raw + 0 * torch.rand(())  # takes from the global generator

    def read(rows: int) -> Batch:
        return Counted().dataset("train").__getitems__(list(range(rows)))

    network = Scale()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    assert plan.measure(network, Regress(), Counted(), TRAINING, read, torch.device("cpu")) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert same(before, network.state_dict())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_run_that_resumes_says_what_is_left(tmp_path: Path) -> None:
    def resumed(*words: object) -> Outcome:
        return shortcut(*DIGITS, "--schedule", "constant", "--run", tmp_path, *words)

    assert "; 12 steps, batch 32" in resumed().err
    assert "; 8 of 20 steps left, batch 32" in resumed("--train-steps", 20).err
    done = resumed("--train-steps", 20).err
    assert "to train" not in done
    assert "time on" not in done


def test_long_trainings_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measure", lambda *args, **options: 301.0)
    said = shortcut(*DIGITS, "--run", tmp_path).err
    assert "shortcut: warning: training takes about 1 h 0 min here: for less, pass --minutes N" in said


def test_nothing_is_warned_of_where_the_time_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measure", lambda *args, **options: 301.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(Scale(), Regress(), Line(), run=tmp_path, training=TRAINING, callbacks=[TimeLimit(200.0, time.monotonic())])


def test_a_gpu_is_measured_by_its_own_first_steps(
    capsys: pytest.CaptureFixture[str], annotations_unchecked: None
) -> None:
    training = replace(TRAINING, train_steps=1025)
    announced = Plan(config(), training, torch.device("cuda"), ALONE, quiet=False)
    announced.measure(Scale(), Regress(), Line(), Line().dataset("train"), None, 0)
    announced.announce(SimpleNamespace(step=0, network=Scale()), is_limited=False)  # type: ignore[arg-type]
    assert "time on" not in capsys.readouterr().err
    now, aside = 0.0, 0.0
    for step in range(1, 100):
        now += 60.0 if step == 1 else 0.25  # the first one compiles
        aside += 10.0 if step == 7 else 0.0  # a preview
        side = SimpleNamespace(clock=lambda now=now + aside: now, seconds=aside)
        trainer = SimpleNamespace(step=step, side=side, figures={"loss": 0.0}, training=training, is_last=False)
        announced.on_step(trainer)  # type: ignore[arg-type]
    assert "time on this GPU: about 4 min 10 s, 250 ms a step;" in capsys.readouterr().err


def test_quiet_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(Scale(), Regress(), Line(), run=tmp_path, training=TRAINING, quiet=True)
    assert capsys.readouterr() == ("", "")
    assert Run(tmp_path).config.exists()
