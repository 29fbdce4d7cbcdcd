"""What is done beside the steps costs its share of a training: by a clock that the test moves."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.runs import same, tensors
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, lines
from shortcut_models.models.model import Model
from shortcut_models.models.run import Run
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.training import callbacks, previews, trainer
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training
from shortcut_models.training.side_work import HELDOUT, PREVIEW, SNAPSHOT, SideWork
from shortcut_models.training.state import State
from shortcut_models.training.step import heldout_examples


class Clock:
    """Time passes only when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def play(training: Training, costs: dict[str, float], due: dict[str, set[int]], start: int = 0) -> dict[str, list[int]]:
    """Return the steps after which each kind of side work is done, where a step takes one second."""
    clock = Clock()
    state = State.new(Scale(), Regress(), training, torch.device("cpu"))
    state.step, state.seconds = start, float(start)
    side = SideWork(state, training, clock=clock)
    made: dict[str, list[int]] = {name: [] for name in costs}
    for step in range(start + 1, training.train_steps + 1):
        clock.now += 1
        state.step, state.seconds = step, float(step)
        for name, cost in costs.items():
            if step in due[name] and side.is_affordable(name, 3 * training.batch_size):
                with side.timed(name):
                    clock.now += cost
                made[name].append(step)
    assert side.seconds == pytest.approx(sum(cost * len(made[name]) for name, cost in costs.items()))
    return made


LONG = Training(train_steps=16_000, batch_size=8, snapshots=60, device="cpu")


@pytest.mark.parametrize(("snapshot", "preview", "heldout"), [(32, 60, 5), (10, 1, 1), (3, 20, 100), (120, 40, 2)])
def test_together_they_cost_their_share_of_a_whole_training(snapshot: float, preview: float, heldout: float) -> None:
    costs = {SNAPSHOT: snapshot, PREVIEW: preview, HELDOUT: heldout}
    every = set(range(1000, 16_001, 1000))
    made = play(LONG, costs, {SNAPSHOT: set(LONG.snapshot_steps()), PREVIEW: every, HELDOUT: every})
    assert sum(costs[name] * len(steps) for name, steps in made.items()) <= 0.05 * 16_000
    assert all(steps[-1] == 16_000 for steps in made.values())


def test_a_film_keeps_its_beginning_and_is_thinned_evenly_on_its_logarithmic_scale() -> None:
    made = play(LONG, {SNAPSHOT: 32}, {SNAPSHOT: set(LONG.snapshot_steps())})[SNAPSHOT]
    assert made[0] == 1
    assert 12 <= len(made) <= 15  # three fifths of 5 % of 16,000 s
    gaps = [math.log(after / before) for before, after in itertools.pairwise(made)]
    assert max(gaps) < 0.25 * math.log(16_000)


def test_what_is_cheap_is_never_left_out() -> None:
    every = set(range(1000, 16_001, 1000))
    due = {SNAPSHOT: set(LONG.snapshot_steps()), PREVIEW: every, HELDOUT: every}
    made = play(LONG, dict.fromkeys(due, 0.1), due)
    assert {name: set(steps) for name, steps in made.items()} == due


def test_of_a_short_training_the_last_are_made_alone() -> None:
    short = replace(LONG, train_steps=20, snapshots=20)
    made = play(short, {SNAPSHOT: 100, PREVIEW: 50}, {SNAPSHOT: set(range(1, 21)), PREVIEW: {10, 20}})
    assert made == {SNAPSHOT: [20], PREVIEW: [20]}


def test_a_share_of_one_leaves_nothing_out_and_of_none_only_the_last() -> None:
    due = {PREVIEW: set(range(1, 21))}
    short = replace(LONG, train_steps=20, snapshots=0)
    assert play(replace(short, side_share=1.0), {PREVIEW: 1e6}, due) == {PREVIEW: [*range(1, 21)]}
    assert play(replace(short, side_share=0.0), {PREVIEW: 1e-6}, due) == {PREVIEW: [20]}


def test_a_resumed_training_spends_only_what_is_left() -> None:
    costs, due = {PREVIEW: 40.0}, {PREVIEW: set(range(100, 16_001, 100))}
    training = replace(LONG, snapshots=0)
    whole, second = play(training, costs, due)[PREVIEW], play(training, costs, due, start=8000)[PREVIEW]
    assert len(second) <= len(whole) / 2 + 2


def test_side_work_is_shown_by_name_and_is_not_time_of_steps() -> None:
    shown: list[str] = []
    clock = Clock()
    state = State.new(Scale(), Regress(), TRAINING, torch.device("cpu"))
    side = SideWork(state, TRAINING, shown.append, clock)
    with side.timed("preview"), side.timed("held-out loss"):
        clock.now += 5
    with contextlib.suppress(KeyError), side.timed("snapshot"):
        clock.now += 2
        raise KeyError
    assert shown == ["preview", "", "snapshot", ""]
    assert side.seconds == 7


def test_the_log_counts_the_time_of_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes one second, and each preview and each held-out loss a hundred."""
    clock = Clock()

    def slowly(seconds: float, act: Any) -> Any:
        def acting(*args: Any, **named: Any) -> Any:
            clock.now += seconds
            return act(*args, **named)

        return acting

    monkeypatch.setattr("shortcut_models.training.fit.SideWork", functools.partial(SideWork, clock=clock))
    monkeypatch.setattr(trainer, "train_step", slowly(1, trainer.train_step))
    monkeypatch.setattr(trainer, "heldout_loss", slowly(100, trainer.heldout_loss))
    monkeypatch.setattr(callbacks, "picture", slowly(100, callbacks.picture))
    training = replace(TRAINING, log_every=3, heldout_every=4, sample_every=2)
    fit(Scale(), Regress(), Line(), run=tmp_path, training=training, quiet=True)
    logged = lines(tmp_path)
    assert [line["seconds"] for line in logged] == [line["step"] for line in logged]
    assert {line["steps_per_second"] for line in logged} == {1.0}


def test_what_is_left_out_changes_no_weights(tmp_path: Path) -> None:
    network = MLPConfig(width=8, depth=1)
    for share in (0.0, 1.0):
        torch.manual_seed(0)
        training = replace(TRAINING, side_share=share, snapshots=5, sample_every=2, heldout_every=3)
        fit(
            network.build((2,), {}),
            Shortcut(max_steps=8),
            Line(),
            run=tmp_path / str(share),
            training=training,
            quiet=True,
        )
    none, every = Run(tmp_path / "0.0"), Run(tmp_path / "1.0")
    assert same(tensors(none.path), tensors(every.path))
    assert [path.name for path in none.samples.iterdir()] == ["step_00000012.png"]
    assert len(list(every.samples.iterdir())) == 6
    assert [path.name for path in none.snapshots.iterdir()] == ["step_00000012.npz"]
    assert [line["step"] for line in none.read_metrics() if "heldout_loss" in line] == [12]
    assert [line["step"] for line in every.read_metrics() if "heldout_loss" in line] == [3, 6, 9, 12]


@pytest.mark.parametrize(("seconds_a_pass", "rows"), [(0.0, [1, 4, 8]), (8.0, [1, 4]), (30.0, [1]), (1e9, [1])])
def test_a_preview_that_takes_long_has_fewer_numbers_of_steps(
    seconds_a_pass: float, rows: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, made = Clock(), []

    class Slow(Model):
        def sample(self, num: int, *, steps: int = 1, **options: Any) -> np.ndarray:
            clock.now += steps * seconds_a_pass
            made.append(steps)
            return np.zeros((num, 2))

    state = State.new(Scale(), Regress(), TRAINING, torch.device("cpu"))
    model = Slow(Scale(), Shortcut(max_steps=8), Line())
    side = SideWork(state, TRAINING, clock=clock)
    previews.picture(model, tmp_path / "p.png", previews.preview_counts(model), side)
    assert made == rows
    assert Image.open(tmp_path / "p.png").format == "PNG"


def test_a_short_training_has_few_examples_in_its_held_out_loss() -> None:
    assert heldout_examples(10_000, Training(train_steps=20_000, batch_size=128)) == 2048
    assert heldout_examples(300, Training(train_steps=20_000, batch_size=128)) == 300
    assert heldout_examples(10_000, Training(train_steps=1, batch_size=64)) == 64
    assert heldout_examples(10_000, Training(train_steps=200, batch_size=64)) == 640
