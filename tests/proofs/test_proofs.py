"""The claims of the README, each made again from nothing: full trainings with seeds 0, 1 and 2. Run `make proofs`."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import shortcut_models
from helpers.paths import ROOT
from shortcut_models.evaluation.evaluate import evaluate
from shortcut_models.models.run import Run

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)
POWERS = [1, 2, 4, 8, 16, 32, 64, 128]


def shortcut(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "shortcut_models.cli", *map(str, words)], check=True)


@pytest.fixture(scope="module", params=SEEDS)
def digits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("digits") / "run"
    begin = time.perf_counter()
    shortcut("train", "digits", "--seed", request.param, "--run", run)
    print(f"digits, seed {request.param}: trained in {time.perf_counter() - begin:.0f} s")
    return run


@pytest.fixture(scope="module", params=SEEDS)
def four_gaussians(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("four-gaussians") / "run"
    shortcut("train", "four-gaussians", "--seed", request.param, "--run", run)
    return run


def test_the_demo_takes_three_minutes_at_most_on_a_fresh_clone(tmp_path: Path) -> None:
    clone, home = tmp_path / "clone", tmp_path / "home"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    home.mkdir()
    variables = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PIP_", "DEMO_"))}
    begin = time.perf_counter()
    done = subprocess.run(
        ["make", "demo"], cwd=clone, env=variables | {"HOME": str(home)}, check=True, capture_output=True, text=True
    )
    in_all, training = time.perf_counter() - begin, Run(clone / "runs" / "demo").read_metrics()[-1]["seconds"]
    print(f"make demo: {in_all:.0f} s, of which training {training:.0f} s")
    assert (clone / done.stdout.splitlines()[-1]).is_file()
    assert in_all < 180
    assert training < 100


def test_digits_are_right_and_varied_at_every_budget(digits: Path) -> None:
    shortcut("evaluate", digits, "--num", 1000)
    rows = json.loads((digits / "evaluation.json").read_text())["steps"]
    print(json.dumps(rows, indent=1))
    assert {int(steps) for steps in rows} == set(POWERS)
    assert all(row["accuracy"] >= 0.99 for row in rows.values())
    assert all(row["coverage"] >= 0.97 for row in rows.values())
    assert rows["1"]["recall"] >= 0.80


def test_every_budget_is_as_good_as_its_neighbouring_powers(digits: Path) -> None:
    model = shortcut_models.load(digits)
    rows = evaluate(model, range(1, 129), 500, quiet=True)["steps"]
    accuracy = np.array([row["accuracy"] for row in rows.values()])
    assert len(accuracy) == 128
    for low, high in itertools.pairwise(POWERS):
        between, worst = accuracy[low : high - 1], min(accuracy[low - 1], accuracy[high - 1])
        assert between.size == 0 or between.min() >= worst - 0.02, (low, high, between.min(), worst)
    print(f"worst of all budgets: {accuracy.min():.3f} at {accuracy.argmin() + 1} steps")


def test_four_gaussians_close_their_chains(four_gaussians: Path) -> None:
    shortcut("evaluate", four_gaussians, "--num", 10_000)
    rows = json.loads((four_gaussians / "evaluation.json").read_text())["steps"]
    print(json.dumps(rows, indent=1))
    assert rows["1"]["distance_to_finest"] <= 0.02
    assert rows["1"]["sliced_wasserstein"] <= 1.1 * rows["128"]["sliced_wasserstein"]
