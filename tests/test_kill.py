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

from shortcut_models import checkpoint
from tiny import DIGITS, command, die_at, environment, fork, same, steps_of, tensors, train, tree

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
    """The weights, the optimiser and what was logged are as if nothing had happened, and nothing is left about."""
    assert same(tensors(run), tensors(whole))
    kept, expected = (
        [
            {name: value for name, value in json.loads(line).items() if "second" not in name}
            for line in (path / "metrics.jsonl").read_text().splitlines()
        ]
        for path in (run, whole)
    )
    assert kept == expected
    assert sorted(tree(run)) == sorted(tree(whole))


def test_the_run_left_in_peace_logs_every_step_once(whole: Path) -> None:
    assert [json.loads(line)["step"] for line in (whole / "metrics.jsonl").read_text().splitlines()] == LOGGED
    assert steps_of(whole) == [9, 12]


def kill_at_changes(tmp_path: Path, whole: Path, number: int) -> bool:
    """Kill a run when it is about to change a file for the n-th time, and let it go on. False: it never did so."""
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
@pytest.mark.parametrize("number", [5, FIRST_SAVED - 1, FIRST_SAVED, 35])
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


@pytest.mark.parametrize("seed", range(3))
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


def test_a_checkpoint_that_was_torn_all_the_same(tmp_path: Path, whole: Path) -> None:
    """As by a disk that lies about what it has written: the checkpoint before is used, with a warning."""
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
    """Processes of their own, each killed at a random moment between its start and some steps after its last save."""
    rng, words = random.Random(0), (*DIGITS, "--steps", 400, "--checkpoint-every", 5, "--log-every", 1)
    train(tmp_path / "whole", "--steps", 400, "--checkpoint-every", 5, "--log-every", 1)
    run, kills = tmp_path / "run", 0
    while kills < 20:
        process = subprocess.Popen(command(*words, "--run", run), stderr=subprocess.DEVNULL, env=environment())
        before = newest_step(run)
        while rng.random() < 0.9 and newest_step(run) == before and process.poll() is None:
            time.sleep(rng.uniform(0, 1))
        time.sleep(rng.uniform(0, 0.3))
        assert process.poll() is None, "the run must be long enough for twenty kills"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert newest_step(run) > 0
    done = subprocess.run(command(*words, "--run", run), capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert same(tensors(run), tensors(tmp_path / "whole"))
    logged = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert logged == list(range(1, 401))


def newest_step(run: Path) -> int:
    return max(steps_of(run), default=0)
