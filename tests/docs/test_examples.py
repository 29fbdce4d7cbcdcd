"""The examples run as a reader runs them, stay short, and are correct."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import shortcut_models
from helpers.oracle import GaussianOracle
from helpers.paths import ROOT
from helpers.runs import shortcut
from shortcut_models.base import Batch
from shortcut_models.checks import check_network, check_objective
from shortcut_models.objectives import OBJECTIVES
from shortcut_models.tasks import Digits

EXAMPLES = ROOT / "examples"
SPLIT = ("--objective", "split", "--network.width", 16, "--batch-size", 32, "--task.size", 500, "--snapshots", 0)


def example(name: str, *words: object, cache: Path) -> str:
    """Run an example and return what it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def my_objective(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("my_objective", EXAMPLES / "my_objective.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "my_objective", module)
    spec.loader.exec_module(module)
    yield module
    del OBJECTIVES["split"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_has_fewer_than_sixty_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


def test_the_parts_of_the_examples_are_in_order(my_objective: ModuleType) -> None:
    check_objective(my_objective.SplitMeanFlow(), straight_path=True)
    names = runpy.run_path(str(EXAMPLES / "my_network.py"))
    task = Digits()
    check_network(names["ConvNet"](task.shape, task.conditions), task)


@pytest.mark.long
@pytest.mark.multiprocess
def test_my_network_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    said = example("my_network.py", "--run", tmp_path / "run", "--train-steps", 3, cache=tmp_path)
    assert re.findall(r"(\d+) steps: an SVM sees the digit asked for in [\d.]+% of 200 samples", said) == ["1", "8"]
    with pytest.raises(shortcut_models.UserError, match="ConvNet"):
        shortcut_models.load(tmp_path / "run")


@pytest.mark.long
@pytest.mark.multiprocess
def test_my_objective_is_on_the_command_line(my_objective: ModuleType, tmp_path: Path) -> None:
    """In a process, which has only the file; and in this one, which has loaded it."""
    run = tmp_path / "run"
    example("my_objective.py", "train", "moons", *SPLIT, "--run", run, "--train-steps", 3, cache=tmp_path)
    outcome = shortcut("evaluate", run, "--steps", 1, 3, "--num", 50)
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["steps", "chance", "real", "1", "3", "verdict:"]


@pytest.mark.long
@pytest.mark.multiprocess
def test_my_signals_compares_two_methods_at_equal_compute(tmp_path: Path) -> None:
    said = example("my_signals.py", "--run", tmp_path / "run", "--train-steps", 10, cache=tmp_path)
    found = re.findall(r"(\w+), (\d+) training steps: [\d.]+ off in (\d+) steps", said)
    budgets = {"Shortcut": "10", "MeanFlow": "7"}  # 10 * 3.5 = 7 * 5 network evaluations an example
    assert found == [(name, steps, count) for name, steps in budgets.items() for count in ("1", "4", "128")]
    with pytest.raises(shortcut_models.UserError, match="SignalNet"):
        shortcut_models.load(tmp_path / "run" / "Shortcut")


def test_the_mean_flow_of_my_signals_is_exact_for_one_point() -> None:
    """Its targets are those of the exact flow, as the derivative along the path is right."""
    spec = importlib.util.spec_from_file_location("my_signals", EXAMPLES / "my_signals.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_signals"] = module
    spec.loader.exec_module(module)
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    # Of data that is one point: then the velocity of each path is the exact one.
    oracle, data = GaussianOracle(mean, 1e-6), mean.expand(64, 2).clone()
    losses = module.MeanFlow().losses(oracle, oracle, Batch(data))
    assert losses.logs["error"].max() < 1e-6
    losses = module.MeanFlow().losses(GaussianOracle(mean + 1, 1e-6), oracle, Batch(data))
    assert losses.logs["error"].mean() > 1


def test_my_objectives_targets_are_those_of_the_exact_flow(my_objective: ModuleType) -> None:
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    oracle, objective = GaussianOracle(mean, 0.3), my_objective.SplitMeanFlow()
    data = mean + 0.3 * torch.randn(64, 2, dtype=torch.float64)
    losses = objective.losses(oracle, oracle, Batch(data))
    assert losses.per_example[:32].max() < 1e-9
    assert torch.equal(losses.per_example, torch.cat([losses.logs["split"], losses.logs["flow"]]))
    assert losses.logs["flow"].min() > 1e-9
    noise = torch.randn(8, 2, dtype=torch.float64)
    ends = [objective.sample(oracle, noise, {}, steps) for steps in (1, 3, 128)]
    assert torch.allclose(ends[0], mean + 0.3 * noise, atol=1e-6)
    assert all(torch.allclose(end, ends[0], atol=1e-5) for end in ends)


@pytest.mark.long
@pytest.mark.multiprocess
def test_my_images_takes_a_folder(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    words = ("--data", tmp_path / "photos", "--image-size", 8, "--patch-size", 4, "--run", tmp_path / "run")
    said = example("my_images.py", *words, "--train-steps", 3, cache=tmp_path)
    assert "images of shape (3, 8, 8), classes cat, dog" in said
    assert "uint8 samples of shape (32, 8, 8, 3)" in said
    assert (tmp_path / "run" / "one-step.png").exists()


@pytest.mark.long
@pytest.mark.multiprocess
def test_my_images_draws_its_own(tmp_path: Path) -> None:
    assert "classes across, upright" in example(
        "my_images.py", "--train-steps", 2, "--patch-size", 8, "--run", tmp_path / "run", cache=tmp_path
    )


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_shows_something_as_it_is(path: Path, tmp_path: Path) -> None:
    said = example(path.name, cache=tmp_path)
    print(said)
    assert "1 steps" in said or "sliced_wasserstein" in said
