"""Comparisons of tiny trainings, whose processes start at once."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TextIO

import pytest

from shortcut_models.compare.comparison import Trial
from shortcut_models.compare.workers import Workers

from .runs import NETWORK, Outcome, fork, shortcut

SIZES = (*NETWORK, "--batch-size", 32, "--warmup", 3, "--device", "cpu", "--precision", "fp32", "--task.size", 500,
         "--objective.max-steps", 8)  # fmt: skip
BUDGET = 3000
STARTED: list[str] = []
"""the trials for which a process was started"""


class Forked:
    """A forked process that looks like one of `subprocess`: it starts at once, as it has imported everything."""

    def __init__(self, process: ForkServerProcess, said: Path) -> None:
        self.process, self.said = process, said
        self.terminate, self.wait = process.terminate, process.join

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    @property
    def stderr(self) -> TextIO:
        return self.said.open()


@pytest.fixture(scope="module", autouse=True)
def processes_that_start_at_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place = tmp_path_factory.mktemp("said")

    def start(self: Workers, trial: Trial) -> None:
        STARTED.append(trial.name)
        said = place / f"{len(STARTED)}.txt"
        words = ("compare", *self.words, "--trial", trial.name)
        self.running[trial.name] = Forked(fork(words, said=said), said)  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workers, "start", start)
        yield


def compare(out: Path, *words: object) -> tuple[Outcome, list[str]]:
    """The outcome, and the trials that were started."""
    STARTED.clear()
    outcome = shortcut("compare", "four-gaussians", *SIZES, "--nfe-budget", BUDGET, "--num", 50, "--steps", 4, 1,
                       "--out", out, *words)  # fmt: skip
    return outcome, sorted(STARTED)


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}
