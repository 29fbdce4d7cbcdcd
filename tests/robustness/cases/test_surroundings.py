"""Odd surroundings of a command: streams, environment, signals, file systems and global settings of torch."""

from __future__ import annotations

import datetime
import errno
import fcntl
import functools
import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from helpers.runs import DIGITS, POINTS, Outcome, command, environment, fork, refusal, steps_of
from shortcut_models.system import torchrun
from shortcut_models.system.torchrun import check_environment, is_distributed, once_per_job, rendezvous_store
from shortcut_models.text import quote

TINY = (*POINTS, "--train-steps", 8)


def run(*words: object, patch: str = "", shell: str = "", cwd: Path | None = None, **variables: str | None) -> Outcome:
    """Run a command as a process of its own.

    Args:
        words: the command, without `shortcut`.
        patch: Python that comes before it.
        shell: what a shell adds to the command, such as `2>&-`.
        cwd: where it runs.
        variables: of the environment; None removes one.
    """
    program = command(*words)
    if patch:
        started = f"{patch}\nimport sys\nfrom shortcut_models.cli import main\nsys.exit(main())"
        program = [sys.executable, "-c", started, *map(str, words)]
    if shell:
        program = ["bash", "-c", f'"$@" {shell}', "bash", *program]
    env = {name: value for name, value in (environment() | variables).items() if value is not None}
    done = subprocess.run(program, capture_output=True, env=env, cwd=cwd, timeout=240)
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@pytest.mark.long
@pytest.mark.parametrize("stream", ["stderr", "both"])
def test_a_training_whose_reader_goes_away_continues_without_a_bar(tmp_path: Path, stream: str) -> None:
    reading, writing = os.pipe()
    words = command(*POINTS, "--train-steps", 400, "--run", tmp_path / "run")
    out = writing if stream == "both" else subprocess.DEVNULL
    process = subprocess.Popen(words, stderr=writing, stdout=out, env=environment())
    os.close(writing)
    os.read(reading, 64)
    os.close(reading)
    # The last line of stdout cannot be printed, either: the code of SIGPIPE, as for any command in a pipe.
    assert process.wait(timeout=240) == (141 if stream == "both" else 0)
    assert steps_of(tmp_path / "run") == [400]


@pytest.mark.long
@pytest.mark.parametrize("words", [("recipes",), ("--help",), ("train", "--help"), ("train", "nothing")])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", "| true"])
def test_streams_may_be_closed(words: tuple[str, ...], closed: str) -> None:
    outcome = run(*words, shell=closed)
    assert outcome.code in ((0,) if closed == "| true" else (2,) if words[-1] == "nothing" else (0,))
    assert "Traceback" not in outcome.err
    assert "Exception ignored" not in outcome.err


@pytest.mark.long
def test_a_training_without_streams_leaves_them_out_of_its_files(tmp_path: Path) -> None:
    outcome = run(*TINY, "--run", tmp_path / "run", shell="<&- >&- 2>&-")
    assert (outcome.code, steps_of(tmp_path / "run")) == (0, [8])
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line)  # an open file may have had the number of a stream
    assert run("evaluate", tmp_path / "run", "--steps", 1, "--num", 50, shell="2>&-").code == 0
    saved = tmp_path / "run" / "evaluation.json"
    saved.unlink()
    run("evaluate", tmp_path / "run", "--steps", 1, 2, "--num", 50, shell="| head -1")
    assert set(json.loads(saved.read_text())["steps"]) == {"1", "2"}


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_output_is_escaped_where_its_encoding_lacks_a_character(tmp_path: Path, encoding: str) -> None:
    assert run(*TINY, "--run", tmp_path / "run").code == 0
    outcome = run("sample", tmp_path / "run", "--num", 4, "--out", "一.npz", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert (outcome.code, (tmp_path / "一.npz").exists()) == (0, True), outcome.err
    assert r"\u4e00.npz" in outcome.out
    refused = run("train", "一", PYTHONIOENCODING=encoding)
    assert refused.code == 2
    assert r"\u4e00" in refused.complaint


DRAW = """
import os, sys
from shortcut_models.drawing.style import new_panels, picture_of, styled
with styled():
    figure, panels = new_panels(2, 2, 100, 100)
    picture_of(figure)
sys.exit(os.environ.get("MPLBACKEND") != sys.argv[1])
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_that_is_missing"},
        {"MPLBACKEND": "nonsense"},
        {"MPLBACKEND": "TkAgg"},
        {"MPLBACKEND": "TkAgg", "MPLCONFIGDIR": "/proc/nothing"},
        {"MPLBACKEND": "TkAgg", "MATPLOTLIBRC": "/nothing"},
    ],
)
def test_settings_of_matplotlib_do_not_matter(variables: dict[str, str]) -> None:
    words = [sys.executable, "-c", DRAW, variables["MPLBACKEND"]]
    done = subprocess.run(words, env=environment() | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_report_and_the_pictures_of_a_training_need_no_backend(tmp_path: Path) -> None:
    variables = {"MPLBACKEND": "module://matplotlib_inline.backend_that_is_missing"}
    outcome = run(*TINY, "--snapshots", 1, "--run", tmp_path / "run", **variables)
    assert outcome.code == 0, outcome.err
    assert run("report", tmp_path / "run", **variables).code == 0


@pytest.mark.long
def test_damaged_settings_of_matplotlib_are_one_line(tmp_path: Path) -> None:
    assert run(*TINY, "--run", tmp_path / "run").code == 0
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    outcome = run("report", tmp_path / "run", cwd=tmp_path)
    assert outcome.code == 2
    assert "matplotlibrc" in outcome.complaint
    assert "Traceback" not in outcome.err


def _without_locks(number: int) -> None:
    def none(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.lockf = fcntl.flock = none  # type: ignore[assignment]


@pytest.mark.long
@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL"])
def test_a_file_system_without_locks_is_warned_of_once(tmp_path: Path, name: str) -> None:
    without = functools.partial(_without_locks, getattr(errno, name))
    process = fork((*TINY, "--run", tmp_path / "run"), without, tmp_path / "said")
    process.join()
    said = (tmp_path / "said").read_text()
    assert (process.exitcode, steps_of(tmp_path / "run")) == (0, [8]), said
    assert said.count("file system without locks") == 1


@pytest.mark.long
def test_a_user_without_a_home_trains_and_reports(tmp_path: Path) -> None:
    patch = "import pwd\ndef unknown(uid): raise KeyError(uid)\npwd.getpwuid = unknown"
    without = {"HOME": None, "XDG_CACHE_HOME": None, "USER": None, "LOGNAME": None}
    for words in ((*TINY, "--run", tmp_path / "run"), ("report", tmp_path / "run")):
        outcome = run(*words, patch=patch, **without)
        assert outcome.code == 0, outcome.err


JOB = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WORLD_SIZE", "", "WORLD_SIZE is empty"),
        ("WORLD_SIZE", "abc", "WORLD_SIZE must be a whole number of at least 1, not abc"),
        ("WORLD_SIZE", "0", "WORLD_SIZE must be"),
        ("WORLD_SIZE", "2.0", "WORLD_SIZE must be"),
        ("RANK", None, "RANK is not set"),
        ("RANK", "2", "RANK must be a whole number of at least 0 below 2, not 2"),
        ("RANK", "-1", "RANK must be"),
        ("LOCAL_RANK", "x", "LOCAL_RANK must be"),
        ("LOCAL_RANK", "", "LOCAL_RANK is not set"),
        ("MASTER_ADDR", None, "MASTER_ADDR is not set"),
        ("MASTER_PORT", "", "MASTER_PORT is not set"),
        ("MASTER_PORT", "http", "MASTER_PORT must be"),
    ],
)
def test_variables_of_a_job_are_checked(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, message: str
) -> None:
    for each, usual in (JOB | {name: value}).items():
        if usual is None:
            monkeypatch.delenv(each, raising=False)
        else:
            monkeypatch.setenv(each, usual)
    with refusal(message):
        check_environment()
    assert once_per_job("a line")  # without waiting for other processes
    assert is_distributed() == (name != "WORLD_SIZE")


@pytest.mark.long
def test_only_commands_that_need_processes_look_at_the_variables_of_a_job(tmp_path: Path) -> None:
    for variables in (JOB | {"WORLD_SIZE": "abc"}, JOB | {"RANK": None}):
        outcome = run(*TINY, "--run", tmp_path / "run", **variables)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert not (tmp_path / "run").exists()
        assert run("recipes", **variables).code == 0
        assert run("report", tmp_path / "run", **variables).complaint.endswith("pass a run directory or a model file")


def test_processes_that_cannot_meet_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (JOB | {"RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torchrun, "TIME_LIMIT", datetime.timedelta(seconds=1))
    with refusal("processes cannot meet at 127.0.0.1:1 .*: start with torchrun, or unset WORLD_SIZE"):
        rendezvous_store()


@pytest.mark.parametrize(
    "name", ["SIGHUP", *(pytest.param(name, marks=pytest.mark.long) for name in ("SIGXCPU", "SIGUSR1", "SIGUSR2"))]
)
def test_signals_of_terminals_and_schedulers_save(tmp_path: Path, name: str) -> None:
    number = signal.Signals[name]
    words = (*DIGITS, "--train-steps", 100_000, "--log-every", 1, "--workers", 1, "--run", tmp_path / "run")
    process = fork(words, os.setsid)
    _wait_for_log(tmp_path / "run", process)
    for _ in range(2):  # a terminal that closes may say so twice
        os.killpg(process.pid or 0, number)
    process.join()
    assert process.exitcode == 128 + number
    assert len(steps_of(tmp_path / "run")) == 1


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.long
def test_nohup_keeps_a_training_alive(tmp_path: Path) -> None:
    process = fork((*DIGITS, "--train-steps", 300, "--log-every", 1, "--run", tmp_path / "run"), _ignore_hangup)
    _wait_for_log(tmp_path / "run", process)
    os.kill(process.pid or 0, signal.SIGHUP)
    process.join()
    assert (process.exitcode, steps_of(tmp_path / "run")) == (0, [300])


def _wait_for_log(path: Path, process: BaseProcess) -> None:
    while not (path / "metrics.jsonl").exists():
        assert process.is_alive()
        time.sleep(0.02)


def test_a_directory_that_was_removed_is_one_line(tmp_path: Path) -> None:
    program = 'mkdir gone && cd gone && rmdir ../gone && "$@"'
    done = subprocess.run(["bash", "-c", program, "bash", *command("recipes")], cwd=tmp_path, capture_output=True)
    assert done.returncode == 2
    assert done.stderr == b"shortcut: error: the current directory does not exist any longer: change to another\n"


def test_hints_can_be_pasted() -> None:
    assert [quote(Path(name)) for name in ("run", "a b", "-r")] == ["run", "'a b'", "./-r"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["TORCH_LOGS", "TQDM_MININTERVAL"])
def test_a_variable_that_a_library_refuses_is_one_line(name: str) -> None:
    for words in (("recipes",), ("train", "four-gaussians", "--help"), ("report", "nowhere")):
        outcome = run(*words, **{name: "nonsense"})
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert "unset the variable of the environment" in outcome.complaint
