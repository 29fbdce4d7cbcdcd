"""Runs of a second, and the command line from inside, from a shell, and from a process that can be killed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from shortcut_models.cli import main
from shortcut_models.errors import UserError
from shortcut_models.models import checkpoint

NETWORK = ("--network", "mlp", "--network.width", 16, "--network.depth", 1)
OPTIONS = (
    *NETWORK, "--batch-size", 32, "--warmup", 3, "--train-steps", 12, "--device", "cpu", "--precision", "fp32",
    "--side-share", 1,
)  # fmt: skip
DIGITS = ("train", "digits", *OPTIONS)
POINTS = ("train", "four-gaussians", *OPTIONS, "--task.size", 500, "--snapshots", 0, "--objective.max-steps", 8)
COMMANDS = (
    "recipes", "collect", "train", "compare", "inspect", "encode", "sample", "evaluate", "fid-stats", "interpolate",
    "plot", "animate", "report", "rollout", "plot-chunks", "race", "import-original",
)  # fmt: skip


class Outcome(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The last line said on stderr."""
        return self.err.strip().splitlines()[-1]


def shortcut(*words: object) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("always")
        code = main([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


def assert_refused(
    words: str | Sequence[object],
    message: str,
    unchanged: Path | None = None,
    run: Callable[..., Outcome] = shortcut,
) -> None:
    """Assert that a command is refused: exit code 2, one line on stderr with the message, and nothing written.

    Warnings, the plan, and the bar of a training that had begun, may come before it.

    Args:
        words: the command, without `shortcut`.
        message: part of the line.
        unchanged: a folder whose files must stay as they are.
        run: what runs the command, by default in this process.
    """
    before = None if unchanged is None else listing(unchanged)
    outcome = run(*(words.split() if isinstance(words, str) else words))
    bar_or_warning = re.compile(r"shortcut: warning: |to train: |time on |.* to train on, |.*step/s\]\s*$|$")
    said = [line for line in outcome.err.splitlines() if not bar_or_warning.match(line)]
    assert len(said) == 1, outcome.err
    assert said[0].startswith("shortcut: error: ")
    assert message in said[0]
    assert (outcome.code, outcome.out) == (2, "")
    assert unchanged is None or listing(unchanged) == before


@contextlib.contextmanager
def refusal(message: str) -> Iterator[None]:
    """Assert that a UserError is raised, with a message of one line that matches."""
    with pytest.raises(UserError, match=message) as caught:
        yield
    assert "\n" not in str(caught.value)


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Return every file below a folder with its size and time."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]


def train(run: Path, *words: object, options: tuple[object, ...] = DIGITS) -> Outcome:
    """Train a tiny run to its end."""
    outcome = shortcut(*options, "--run", run, *words)
    assert outcome.code == 0, outcome.err
    return outcome


def command(*words: object) -> list[str]:
    """The same command for a shell."""
    return [sys.executable, "-m", "shortcut_models.cli", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    """One thread each: on a busy machine several would wait for one another."""
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def shell(*words: object, **more: Any) -> Outcome:
    """Run a command as a process of its own."""
    done = subprocess.run(command(*words), capture_output=True, text=True, env=environment(), **more)
    return Outcome(done.returncode, done.stdout, done.stderr)


def tensors(run: Path, step: int | None = None) -> dict[str, Tensor]:
    """All that a checkpoint of a run holds, by default the last one, less the time it took."""
    found = checkpoint.list_checkpoints(run / "checkpoints")
    path = found[-1] if step is None else run / "checkpoints" / f"{step:08d}"
    (ema, _), (state, _) = (checkpoint.read(path / name) for name in (checkpoint.MODEL, checkpoint.STATE))
    return {f"ema.{name}": value for name, value in ema.items()} | {k: v for k, v in state.items() if k != "seconds"}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether tensors of the same names are the same bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def steps_of(run: Path) -> list[int]:
    """The steps of a run's checkpoints."""
    return [checkpoint.step_of(path) for path in checkpoint.list_checkpoints(run / "checkpoints")]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder and its content."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


OURS = [
    f"shortcut_models.{name}"
    for name in ("cli", "cli.train", "cli.sample", "cli.pictures", "recipes.train", "drawing.style", "reports.report")
]
THEIRS = ["sklearn.datasets", "sklearn.model_selection", "sklearn.svm", "torch._dynamo"]


@functools.cache
def _forks() -> multiprocessing.context.ForkServerContext:
    """A server that has imported everything and computed nothing, so that a fork of it starts at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*OURS, *THEIRS])
    return context


def fork(
    words: tuple[object, ...], prepare: Callable[[], object] | None = None, said: Path | str = os.devnull
) -> ForkServerProcess:
    """A started process that does what the command does, after a call of `prepare`, and says it to the file `said`."""
    process = _forks().Process(target=_run, args=([str(word) for word in words], dict(os.environ), prepare, said))
    process.start()
    return process


def _run(words: list[str], variables: dict[str, str], prepare: Callable[[], object] | None, said: Path | str) -> None:
    os.environ.clear()  # the server that forks keeps the variables of the first caller
    os.environ.update(variables)
    torch.set_num_threads(1)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    multiprocessing.set_start_method(None, force=True)  # the usual one, as in a process that a shell starts
    with open(said, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        if prepare is not None:
            for name in OURS:  # they cannot be read after rights are given up; the server may have imported others
                importlib.import_module(name)
            prepare()
        code = main(words)
    os._exit(code)


def become_nobody() -> None:
    """Give up the rights of root, which may write anywhere."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def die_at(event_number: int, folder: str) -> None:
    """Have this process killed when it is about to change the folder for the n-th time."""
    counted: Iterator[int] = iter(range(1, event_number + 1))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree")
        opened = event == "open" and str(arguments[1])[:1] in ("w", "a")
        # Where a folder is removed, its files go by their bare names.
        inside = folder in str(arguments[0]) or (event == "os.remove" and os.sep not in str(arguments[0]))
        if (changes or opened) and inside and next(counted) == event_number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
