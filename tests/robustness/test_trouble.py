"""Signals, two at once, a full disk, a read-only folder: what may happen to a run from outside."""

from __future__ import annotations

import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from helpers.runs import (
    DIGITS,
    POINTS,
    become_nobody,
    command,
    environment,
    fork,
    same,
    shortcut,
    steps_of,
    tensors,
    train,
    tree,
)

pytestmark = pytest.mark.multiprocess


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals, code: int) -> None:
    words = (*DIGITS, "--run", tmp_path / "run", "--train-steps", 400, "--log-every", 1)
    process = fork(words, said=tmp_path / "said")
    wait_until(lambda: bool(lines(tmp_path / "run")), process)
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == code
    (step,) = steps_of(tmp_path / "run")
    assert 0 < step < 400
    said = (tmp_path / "said").read_text()
    assert said.rstrip().splitlines()[-1] == (
        f"shortcut: stopped at step {step} of 400, and saved; run the same command again to resume"
    )
    assert "Traceback" not in said
    assert [json.loads(line)["step"] for line in lines(tmp_path / "run")] == list(range(1, step + 1))


@pytest.mark.long
def test_a_process_of_its_own_stops_just_so(tmp_path: Path) -> None:
    words = (*DIGITS, "--run", tmp_path / "run", "--train-steps", 100_000, "--log-every", 1)
    process = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, env=environment())
    while not lines(tmp_path / "run"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "and saved; run the same command again to resume" in process.communicate()[1]
    assert process.returncode == 130
    assert len(steps_of(tmp_path / "run")) == 1


def wait_until(true: Callable[[], bool], process: BaseProcess) -> None:
    while not true():
        assert process.is_alive()
        time.sleep(0.02)


@pytest.mark.long
def test_processes_that_read_do_not_outlive_the_trainer(tmp_path: Path) -> None:
    """After a kill they hold no lock and print nothing; a signal to all, as from a terminal, does not stop them."""
    words = (*DIGITS, "--run", tmp_path / "run", "--train-steps", 100_000, "--log-every", 1, "--workers", 2)
    groups = []
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        (tmp_path / "run" / "metrics.jsonl").unlink(missing_ok=True)
        process = fork(words, os.setsid, tmp_path / f"said{code}")
        wait_until(lambda: bool(lines(tmp_path / "run")), process)
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid or 0, number)
        process.join()
        assert process.exitcode == code
        groups.append(process.pid or 0)
    while any(map(alive, groups)):
        time.sleep(0.02)
    said = "".join(path.read_text() for path in tmp_path.glob("said*"))
    assert "Traceback" not in said
    assert "Error" not in said


def alive(group: int) -> bool:
    """Whether a process group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_prints_nothing_when_the_trainer_is_gone() -> None:
    """It is gone in the middle of fetching a batch's memory; other errors are still printed."""
    code = """
import multiprocessing.resource_sharer as sharer, socket, sys
from shortcut_models.training import batches
if sys.argv[1] == "prepared":
    batches._prepare_worker(0)
for read in (False, True):  # a connection that is reset, and one that ends
    offered = sharer.DupFd(0)
    trainer = socket.socket(socket.AF_UNIX)
    trainer.connect(offered._id[0])
    if read:
        trainer.recv(1000)
    trainer.close()
    offered.detach()  # answered by the same thread, which is done with the first connection then
if sys.argv[1] == "prepared":
    sys.excepthook(ValueError, ValueError("another error"), None)
"""
    words = [sys.executable, "-c", code]
    plain, prepared = (
        subprocess.run([*words, kind], capture_output=True, text=True, env=environment(), check=True)
        for kind in ("plain", "prepared")
    )
    assert plain.stderr.count("Traceback") == 2
    assert prepared.stderr.strip() == "ValueError: another error"


def lines(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    words = (*DIGITS, "--run", tmp_path / "run", "--train-steps", 100_000, "--log-every", 1)
    first = fork(words)
    try:
        wait_until(lambda: bool(lines(tmp_path / "run")), first)
        second = shortcut(*words)
        assert second.code == 2
        assert second.complaint == (
            f"shortcut: error: {tmp_path / 'run'} is being trained by another process: "
            f"wait, or choose another directory with --run"
        )
        assert first.is_alive()
    finally:
        first.terminate()
        first.join()
    assert first.exitcode == 143


def test_a_full_disk_loses_nothing_and_the_run_goes_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the model fits, and the state, which is larger, does not."""
    run = tmp_path / "run"
    train(run, "--schedule", "constant", "--train-steps", 5)
    most = (run / "checkpoints" / "00000005" / "model.safetensors").stat().st_size + 1000
    before = tree(run / "checkpoints")
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    process = fork((*DIGITS, "--run", run, "--schedule", "constant"), limit, tmp_path / "said")
    process.join()
    assert process.exitcode == 2
    assert re.search(
        r"^shortcut: error: .*: File too large: fix that, then run the same command again; it continues from the last "
        r"checkpoint$",
        (tmp_path / "said").read_text(),
        re.MULTILINE,
    )
    assert tree(run / "checkpoints") == before
    train(run, "--schedule", "constant")
    train(tmp_path / "whole", "--schedule", "constant")
    assert same(tensors(run), tensors(tmp_path / "whole"))


def test_a_read_only_folder_is_one_clear_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Path(tempfile.mkdtemp())  # one that others than root can reach
    try:
        train(place / "run", options=POINTS)
        for path in (place, *place.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = tree(place)
        for words, message in (
            ((*POINTS, "--run", place / "new"), f"cannot use {place / 'new'}: Permission denied: fix this"),
            ((*POINTS, "--run", place / "run"), f"cannot use {place / 'run' / '.lock'}: Permission denied: fix this"),
            (("sample", place / "run", "--out", place / "s.npz"), f"{place} cannot be written to: choose another"),
            (("report", place / "run", "--out", place / "r.html"), f"{place} cannot be written to: choose another"),
        ):
            said = tmp_path_factory.mktemp("said") / "said"
            process = fork(words, become_nobody, said)
            process.join()
            assert said.read_text().startswith(f"shortcut: error: {message}")
            assert said.read_text().count("\n") == 1
            assert process.exitcode == 2
        assert tree(place) == before
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)
