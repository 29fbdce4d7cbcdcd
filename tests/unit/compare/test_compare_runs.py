"""`shortcut compare`: how a comparison resumes, after more was asked for, a stop, or damage."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.comparisons import BUDGET, SIZES, Forked, compare, processes_that_start_at_once, times
from helpers.paths import ROOT
from helpers.runs import command, environment, fork, shortcut, steps_of, tensors
from shortcut_models.models.run import Run

pytestmark = pytest.mark.multiprocess

__all__ = ["processes_that_start_at_once"]


@pytest.mark.long
def test_methods_and_seeds_are_added_and_only_they_are_trained(tmp_path: Path) -> None:
    out, done = tmp_path / "out", set()
    for words, expected in (
        (("flow",), {"flow-seed0"}),
        (("flow", "consistency-training", "reflow"), {"consistency-training-seed0", "teacher-seed0", "reflow-seed0"}),
        (("flow", "reflow", "--seeds", 2), {"flow-seed1", "teacher-seed1", "reflow-seed1"}),
    ):
        before = times(out)
        outcome, names = compare(out, "--jobs", 2, "--objectives", *words)
        assert outcome.code == 0, outcome.err
        assert set(names) == expected
        assert len(names) == len(expected)
        assert before.items() <= times(out).items()
        done |= expected
    assert {path.name for path in (out / "runs").iterdir()} == done
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 2 * 2 * 2
    assert "±" in (out / "table.md").read_text()
    weights = [tensors(out / "runs" / f"flow-seed{seed}") for seed in (0, 1)]
    assert not any(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] if weights[0][name].ndim == 2)


ONE = ("--objectives", "two-model", "--steps", 1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("small") / "out"
    assert compare(out, *ONE)[0].code == 0
    return out


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    shutil.copytree(small, tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_a_damaged_note_is_said_in_one_line(copied: Path, content: str) -> None:
    (copied / "compare.json").write_text(content)
    outcome, _ = compare(copied, *ONE)
    assert (outcome.code, outcome.complaint) == (
        2, f"shortcut: error: {copied}/compare.json is damaged: choose another --out"
    )  # fmt: skip


@pytest.mark.parametrize("content", ["{", "[]", '{"steps": {}}', None])
def test_an_evaluation_that_is_damaged_or_of_another_command_is_made_again(copied: Path, content: str | None) -> None:
    run, table = copied / "runs" / "two-model-seed0", (copied / "results.csv").read_text()
    if content is None:
        assert shortcut("evaluate", run, "--steps", 1, "--num", 50, "--seed", 1).code == 0
    else:
        Run(run).evaluation.write_text(content)
    assert compare(copied, *ONE)[0].code == 0
    assert (copied / "results.csv").read_text() == table


def test_a_lost_log_costs_the_seconds_and_no_more(copied: Path) -> None:
    run = Run(copied / "runs" / "two-model-seed0")
    run.evaluation.unlink()
    run.metrics.unlink()
    assert compare(copied, *ONE)[0].code == 0
    assert (copied / "table.md").read_text().rstrip().endswith(" unknown |")


@pytest.mark.parametrize("trial", ["teacher-seed0", "two-model-seed0"])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_damaged_run_is_named_with_what_to_do(copied: Path, trial: str, file: str) -> None:
    """The command has no --run that could be another."""
    Run(copied / "runs" / "two-model-seed0").evaluation.unlink()
    (damaged,) = (copied / "runs" / trial).rglob(file)
    damaged.write_text("{")
    outcome, _ = compare(copied, *ONE)
    assert (outcome.code, outcome.complaint) == (
        2,
        f"shortcut: error: {copied}/runs/{trial} is damaged: remove it, then run the same command again, which trains "
        f"it from scratch",
    )


def test_a_trial_that_fails_in_a_process_is_named_in_one_line(copied: Path) -> None:
    Run(copied / "runs" / "two-model-seed0").evaluation.unlink()
    (copied / "runs" / "two-model-seed0" / "config.json").write_text("{")
    outcome, _ = compare(copied, *ONE, "--jobs", 2)
    assert outcome.code == 2
    assert re.match(r"shortcut: error: two-model-seed0: .*two-model-seed0 is damaged: remove it", outcome.complaint)


@pytest.mark.parametrize("words", [("--data", "/nowhere"), ("--data", ".", "--network.heads", 7)])
def test_what_cannot_be_trained_leaves_nothing_behind(tmp_path: Path, words: tuple[object, ...]) -> None:
    """Or the command that is put right would find a comparison with other options."""
    out = tmp_path / "out"
    outcome = shortcut("compare", "images", *words, "--out", out)
    assert outcome.code == 2
    assert not out.exists()


@pytest.mark.long
def test_a_method_in_a_file_of_the_users_own_is_known_to_the_processes(tmp_path: Path) -> None:
    program = [sys.executable, "examples/my_objective.py", "compare", "four-gaussians"]
    words = (*SIZES, "--nfe-budget", BUDGET, "--num", 20, "--steps", 1, "--objectives", "split", "flow", "--jobs", 2,
             "--out", tmp_path / "out")  # fmt: skip
    done = subprocess.run([*program, *map(str, words)], capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out" / "runs").iterdir()} == {"split-seed0", "flow-seed0"}


def started(words: tuple[object, ...], said: Path) -> subprocess.Popen[str]:
    """Start the command as a shell does."""
    return subprocess.Popen(command(*words), stderr=said.open("w"), text=True, env=environment())


def forked(words: tuple[object, ...], said: Path) -> Forked:
    """Start the command in a process that has imported everything."""
    return Forked(fork(words, said=said), said)


@pytest.mark.parametrize(
    ("start", "workers"),
    [
        pytest.param(forked, 1, marks=pytest.mark.long),
        pytest.param(started, 1, marks=pytest.mark.long),
        pytest.param(started, 2, marks=pytest.mark.long),
    ],
)
def test_stopped_in_the_middle_it_saves_and_the_same_command_resumes(
    tmp_path: Path, start: Callable[[tuple[object, ...], Path], Any], workers: int
) -> None:
    """The command alone, and with a process that it waits for."""
    out, said = tmp_path / "out", tmp_path / "said.txt"
    words = ("compare", "four-gaussians", *SIZES, "--nfe-budget", 3 * 32 * 800, "--num", 20, "--steps", 1,
             "--objectives", "flow", "--out", out, "--log-every", 10, "--jobs", workers)  # fmt: skip
    process = start(words, said)
    run = Run(out / "runs" / "flow-seed0")
    while len(run.read_metrics()) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    process.wait()
    text = said.read_text()
    assert process.returncode == 128 + signal.SIGTERM, text
    assert re.match(r"shortcut: stopped.*, and saved; run the same command again to resume$", text.splitlines()[-1])
    (saved,) = steps_of(run.path)
    assert 30 <= saved < 800
    earlier = [line for line in run.read_metrics() if line["step"] <= saved]

    resumed = forked(words, said)
    resumed.wait()
    assert resumed.returncode == 0, said.read_text()
    assert steps_of(run.path) == [800]
    assert run.read_metrics()[: len(earlier)] == earlier
    assert (out / "table.md").exists()
