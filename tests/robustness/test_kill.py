"""Killed at any moment and started again, a run ends with the very weights of one that was left in peace."""

from __future__ import annotations

import functools
import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers.runs import DIGITS, command, die_at, environment, fork, same, steps_of, tensors, train, tree
from shortcut_models.models import checkpoint
from shortcut_models.models.run import Run

pytestmark = pytest.mark.multiprocess

RUN = (*DIGITS, "--checkpoint-every", 3, "--keep", 2, "--log-every", 2, "--heldout-every", 4)
LOGGED = [2, 3, 4, 6, 8, 9, 10, 12]
FIRST_SAVED = 15
"""changes of files up to that which gives the first checkpoint its name"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    process = fork((*RUN, "--run", run))
    process.join()
    assert process.exitcode == 0
    return run


def go_on(run: Path, said: Path, *words: object) -> None:
    """Let a run come to its end."""
    process = fork((*RUN, "--run", run, *words), said=said)
    process.join()
    assert process.exitcode == 0, said.read_text()


def check_equal(run: Path, whole: Path) -> None:
    """The weights, the optimiser and what was logged are as if nothing had happened, and nothing half done is left."""
    assert same(tensors(run), tensors(whole))
    kept, expected = (
        [
            {name: value for name, value in json.loads(line).items() if "second" not in name}
            for line in (path / "metrics.jsonl").read_text().splitlines()
        ]
        for path in (run, whole)
    )
    assert kept == expected
    # A kill between the last checkpoint and the removal of an older one leaves that one.
    assert steps_of(run)[-2:] == steps_of(whole)
    files = [{name for name in tree(path) if not name.startswith("checkpoints/0")} for path in (run, whole)]
    assert files[0] == files[1]


def test_the_run_left_in_peace_logs_every_step_once(whole: Path) -> None:
    assert [json.loads(line)["step"] for line in (whole / "metrics.jsonl").read_text().splitlines()] == LOGGED
    assert steps_of(whole) == [9, 12]


def kill_at_changes(tmp_path: Path, whole: Path, number: int) -> bool:
    """Kill a run when it is about to change a file for the n-th time, and resume it. False: it never did so."""
    run, said = tmp_path / f"run{number}", tmp_path / "said"
    process = fork((*RUN, "--run", run), functools.partial(die_at, number, str(run)), said)
    process.join()
    if process.exitcode == 0:
        return False
    assert process.exitcode == -signal.SIGKILL, said.read_text()
    found = checkpoint.newest(run / "checkpoints", (checkpoint.MODEL, checkpoint.STATE))  # warns of none
    assert found is not None or number <= FIRST_SAVED
    go_on(run, said)
    check_equal(run, whole)
    return True


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(5, marks=pytest.mark.long),
        pytest.param(FIRST_SAVED - 1, marks=pytest.mark.long),
        FIRST_SAVED,
        pytest.param(35, marks=pytest.mark.long),
    ],
)
def test_a_run_killed_while_it_writes(tmp_path: Path, whole: Path, number: int) -> None:
    """Before its configuration is there, while it writes a checkpoint and gives it its name, and while one goes."""
    assert kill_at_changes(tmp_path, whole, number)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_run_killed_at_every_single_change_of_a_file(tmp_path: Path, whole: Path) -> None:
    number = 1
    while kill_at_changes(tmp_path, whole, number):
        number += 1
    assert number > 40


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.long) for seed in range(3)])
def test_a_run_killed_at_a_random_moment(tmp_path: Path, whole: Path, seed: int) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    process = fork((*RUN, "--run", run), said=said)
    while not (run / "config.json").exists():
        time.sleep(0.005)
    time.sleep(random.Random(seed).uniform(0, 0.5))
    process.kill()
    process.join()
    go_on(run, said)
    check_equal(run, whole)


@pytest.mark.long
def test_a_checkpoint_that_was_torn_all_the_same(tmp_path: Path, whole: Path) -> None:
    """As by a disk that loses what it says it has written: the checkpoint before is used, with a warning."""
    run, said = tmp_path / "run", tmp_path / "said"
    process = fork((*RUN, "--run", run), functools.partial(die_at, 30, str(run)), said)
    process.join()
    assert steps_of(run) == [3, 6]
    state = run / "checkpoints" / "00000006" / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:4096])
    go_on(run, said)
    assert f"shortcut: warning: {state} is damaged" in said.read_text()
    check_equal(run, whole)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    """Processes of their own: a few are killed while they start, the others in the middle of some step."""
    rng, run, steps, kills = random.Random(0), tmp_path / "run", 400, 20
    words = (*DIGITS, "--train-steps", steps, "--checkpoint-every", 5, "--log-every", 1)
    train(tmp_path / "whole", *words[len(DIGITS) :])
    for left in range(kills, 0, -1):
        process = subprocess.Popen(command(*words, "--run", run), stderr=subprocess.DEVNULL, env=environment())
        begin = logged(run)[-1]
        target = begin + rng.uniform(0, 1.5) * (steps - 10 - begin) / (left + 1)
        early = time.monotonic() + rng.uniform(0, 5) if rng.random() < 0.2 else float("inf")
        while logged(run)[-1] < target and time.monotonic() < early:
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert max(steps_of(run)) > steps / 2
    done = subprocess.run(command(*words, "--run", run), capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert same(tensors(run), tensors(tmp_path / "whole"))
    assert logged(run) == [0, *range(1, steps + 1)]


def logged(run: Path) -> list[int]:
    """0, and the steps that a run has logged."""
    return [0, *(line["step"] for line in Run(run).read_metrics())]
