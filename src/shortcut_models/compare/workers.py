"""Processes that do the trials of a comparison, each after the one that it learns from."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from ..errors import Stopped, UserError
from ..system.signals import OTHERS
from ..system.threads import COUNT, threads_of_one
from .comparison import Comparison, Trial


class Workers(contextlib.AbstractContextManager["Workers"]):
    """Processes that do a trial each; a signal to stop reaches all of them, and they save."""

    def __init__(self, count: int, words: Sequence[str]) -> None:
        """Prepare so many processes; words: those after `shortcut compare`."""
        self.count, self.words = count, list(words)
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> "Workers":
        for number in (signal.SIGTERM, *OTHERS):
            if number == signal.SIGTERM or signal.getsignal(number) is signal.SIG_DFL:
                self._earlier[number] = signal.signal(number, self._stop)
        return self

    def _stop(self, number: int, frame: Any) -> None:
        raise Stopped("stopped, and saved", number)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, signal.SIG_IGN if number in OTHERS else handler)  # a terminal closes twice
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait()
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def start(self, trial: Trial) -> None:
        """Start a process for a trial, with its share of the cores."""
        self.running[trial.name] = subprocess.Popen(
            [*this_program(["compare", *self.words]), "compare", *self.words, "--trial", trial.name],
            text=True,
            stderr=subprocess.PIPE,
            env=os.environ | {COUNT: threads_of_one(self.count)},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then signals the others once
        )

    def run_all(self, comparison: Comparison, waiting: list[Trial], bar: tqdm) -> None:
        """Run all trials, each after the one it learns from. Raise UserError with the words of one that fails."""
        while waiting or self.running:
            ready = [trial for trial in waiting if comparison.is_ready(trial)]
            for trial in ready[: self.count - len(self.running)]:
                waiting.remove(trial)
                self.start(trial)
            bar.set_postfix_str(", ".join(self.running), refresh=False)
            time.sleep(0.2)
            for name in [name for name, process in self.running.items() if process.poll() is not None]:
                self._end(name)
                bar.update()

    def _end(self, name: str) -> None:
        process = self.running.pop(name)
        said = process.stderr.read().strip() if process.stderr else ""
        if process.returncode == 2:
            raise UserError(f"{name}: {said.splitlines()[-1].removeprefix('shortcut: error: ')}")
        if process.returncode > 128 or process.returncode < 0:
            number = process.returncode - 128 if process.returncode > 0 else -process.returncode
            raise Stopped(f"{name} stopped", number)
        if process.returncode:
            raise RuntimeError(f"{name} failed:\n{said}")


def this_program(words: Sequence[str]) -> list[str]:
    """Return the words that start this program again: also the user's own, which registers methods of theirs.

    Where the words came from Python and not from a command line, it is the installed `shortcut`.
    """
    if sys.argv[1:] == list(words):
        return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - len(words)]]
    return [sys.executable, "-m", "shortcut_models.cli"]
