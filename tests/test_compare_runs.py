"""`shortcut compare`: how a comparison goes on, after more was asked for, a stop, or damage."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from comparisons import SIZES, compare, processes_that_start_at_once, times
from shortcut_models.runs import Run
from tiny import command, environment, shortcut, steps_of, tensors

__all__ = ["processes_that_start_at_once"]


def test_methods_and_seeds_are_added_and_only_they_are_trained(tmp_path: Path) -> None:
    out, done = tmp_path / "out", set()
    for words, expected in (
        (("flow",), {"flow-seed0"}),
        (("flow", "consistency-training", "reflow"), {"consistency-training-seed0", "teacher-seed0", "reflow-seed0"}),
        (("flow", "reflow", "--seeds", 2), {"flow-seed1", "teacher-seed1", "reflow-seed1"}),
    ):
        before = times(out)
        outcome, names = compare(out, "--workers", 2, "--objectives", *words)
        assert outcome.code == 0, outcome.err
        assert set(names) == expected
        assert len(names) == len(expected)
        assert before.items() <= times(out).items()
        done |= expected
    assert {path.name for path in (out / "runs").iterdir()} == done
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 2 * 2 * 2 * 2
    assert "±" in (out / "table.md").read_text()
    weights = [tensors(out / "runs" / f"flow-seed{seed}") for seed in (0, 1)]
    assert not any(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] if weights[0][name].ndim == 2)


def test_a_trial_that_fails_is_named_in_one_line(tmp_path: Path) -> None:
    words = ("--objectives", "flow", "--seed", 3, "--workers", 2)
    assert compare(tmp_path / "out", *words)[0].code == 0
    evaluation = Run(tmp_path / "out" / "runs" / "flow-seed3").evaluation
    evaluation.unlink()
    (tmp_path / "out" / "runs" / "flow-seed3" / "config.json").write_text("{")
    outcome, _ = compare(tmp_path / "out", *words)
    assert outcome.code == 2
    assert re.match(r"shortcut: error: flow-seed3: .*config.json is damaged", outcome.complaint)


@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_in_the_middle_it_saves_and_the_same_command_goes_on(tmp_path: Path, workers: int) -> None:
    """With processes as a shell starts them: the command alone, and one that it waits for."""
    out = tmp_path / "out"
    words = ("compare", "four-gaussians", *SIZES, "--budget", 3 * 32 * 800, "--num", 20, "--steps", 1, "--objectives",
             "flow", "--out", out, "--log-every", 10, "--workers", workers)  # fmt: skip
    process = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, env=environment())
    run = Run(out / "runs" / "flow-seed0")
    while len(run.read_metrics()) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert re.match(r"shortcut: stopped.*, and saved; run the same command again to go on$", said.splitlines()[-1])
    (saved,) = steps_of(run.path)
    assert 30 <= saved < 800
    earlier = [line for line in run.read_metrics() if line["step"] <= saved]

    outcome = shortcut(*words)
    assert outcome.code == 0, outcome.err
    assert steps_of(run.path) == [800]
    assert run.read_metrics()[: len(earlier)] == earlier
    assert (out / "table.md").exists()
