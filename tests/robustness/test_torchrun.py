"""The command in two processes: what they say, how they end, and what becomes of a run that loses one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from helpers.runs import DIGITS, environment, fork, same, shell, steps_of, tensors
from helpers.torchrun_pair import rendezvous_store, variables

pytestmark = pytest.mark.multiprocess

RUN = (*DIGITS, "--log-every", 1, "--sample-every", 1000)


STORES: list[object] = []
"""where processes met; kept, since some may still be there"""


def start(folder: Path, *words: object) -> list[BaseProcess]:
    """The two processes of a command, which say what they say to the files said0 and said1."""
    before, store = dict(os.environ), rendezvous_store()
    STORES.append(store)
    processes: list[BaseProcess] = []
    for rank in range(2):
        os.environ |= variables(rank, store.port)
        processes.append(fork(words, said=folder / f"said{rank}"))
    os.environ.clear()
    os.environ.update(before)
    return processes


def end(processes: list[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def said(folder: Path) -> list[str]:
    """Every line that any of the two said, but for the bar's."""
    texts = [(folder / f"said{rank}").read_text() for rank in range(2)]
    lines = [line for text in texts for line in text.splitlines() if line]
    return [line for line in lines if "step/s" not in line and "s/step" not in line]


def logged(run: Path) -> list[int]:
    path = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(true: Callable[[], bool], process: BaseProcess) -> None:
    while not true():
        assert process.is_alive()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            (*RUN, "--batch-size", 31),
            "batch-size 31 cannot be shared evenly by 2 processes of 1 parts: use a multiple of 2, or another number "
            "of processes",
        ),
        (
            (*RUN, "--parallel", "both"),
            "--parallel must be one of ddp, fsdp, not 'both' (see `shortcut train digits --help`)",
        ),
        ((*RUN, "--device", "cuda:1"), "device 'cuda:1' is one for several processes: use cuda, where each takes its "
                                       "own, or cpu"),
    ],
    ids=["batch", "parallel", "device"],
)  # fmt: skip
def test_refusals_of_two_processes_are_said_once(tmp_path: Path, words: tuple[object, ...], complaint: str) -> None:
    assert end(start(tmp_path, *words, "--run", tmp_path / "run")) == [2, 2]
    assert [line for line in said(tmp_path) if "error" in line] == [f"shortcut: error: {complaint}"]
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_a_lost_process_ends_the_other_and_the_run_goes_on(tmp_path: Path, parallel: str) -> None:
    """Killed, it takes the other along, in a line; stopped by a signal, in the same step."""
    run, words = tmp_path / "run", (*RUN, "--parallel", parallel, "--checkpoint-every", 5)
    long = (*words, "--schedule", "constant", "--run", run)
    processes = start(tmp_path, *long, "--train-steps", 100_000)
    wait_until(lambda: bool(steps_of(run)), processes[0])
    processes[1].kill()
    assert end(processes) == [1, -signal.SIGKILL]
    assert said(tmp_path)[-1].startswith("shortcut: another process has ended")

    before = logged(run)[-1]  # what comes after the checkpoint is logged a second time
    processes = start(tmp_path, *long, "--train-steps", 100_000)
    wait_until(lambda: logged(run)[-1] > before, processes[0])
    os.kill(processes[1].pid or 0, signal.SIGTERM)
    assert end(processes) == [143, 143]
    (step,) = {steps_of(run)[-1], logged(run)[-1]}
    assert [line for line in said(tmp_path) if line.startswith("shortcut: ")] == [
        f"shortcut: stopped at step {step} of 100000, and saved; run the same command again to resume"
    ]

    assert end(start(tmp_path, *long, "--train-steps", step + 3)) == [0, 0]
    assert sum("is trained" in line for line in said(tmp_path)) == 1
    assert logged(run) == list(range(1, step + 4))
    assert shell("sample", run, "--num", 4, "--out", tmp_path / "samples.npz").code == 0


@pytest.mark.slow
def test_torchrun_restarts_what_lost_a_process(tmp_path: Path) -> None:
    """One of two processes is killed: all are started again, resume from the last checkpoint, and finish."""
    words = (*RUN, "--train-steps", 60, "--checkpoint-every", 10)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--max-restarts", 3, "-m", "--")

    def torchrun(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, *map(str, launch), "shortcut_models.cli", *map(str, words)]
        return subprocess.Popen(
            [*command, "--run", str(tmp_path / name)], stderr=subprocess.PIPE, text=True, env=environment()
        )

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = torchrun("whole")
    process.communicate()
    assert process.returncode == 0
    process = torchrun("broken")
    while not steps_of(broken):
        assert process.poll() is None
        time.sleep(0.05)
    victims = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(victims[-1]), signal.SIGKILL)
    assert "another process has ended" in process.communicate()[1]
    assert process.returncode == 0
    assert logged(broken) == logged(whole) == list(range(1, 61))
    assert same(tensors(broken), tensors(whole))
