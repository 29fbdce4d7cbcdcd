"""The command line: what every command does, says and writes, as a user meets it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
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

import numpy as np
import pytest
import torch
from PIL import Image

from shortcut_models import __version__
from shortcut_models.cli import main
from shortcut_models.config import options
from shortcut_models.networks import NETWORKS
from shortcut_models.objectives import OBJECTIVES
from shortcut_models.options import settable
from shortcut_models.recipes import RECIPES
from shortcut_models.training import Training
from tiny import (
    COMMANDS,
    DIGITS,
    POINTS,
    become_nobody,
    command,
    environment,
    fork,
    same,
    shell,
    shortcut,
    steps_of,
    tensors,
    train,
    tree,
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "digits"
    train(run, "--checkpoint-every", 5)
    return run


def help_of(*words: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    return " ".join(said.getvalue().split())


# Help


def test_help_lists_every_command() -> None:
    said = help_of()
    assert all(re.search(rf" {name} ", said) for name in COMMANDS)


def test_help_does_not_wait_for_torch() -> None:
    code = """
import sys
from shortcut_models.cli import main
for words in (["--help"], ["sample", "--help"], ["--version"]):
    try:
        main(words)
    except SystemExit as left:
        assert left.code == 0
assert main(["--nonsense"]) == 2
heavy = {"torch", "numpy", "matplotlib", "sklearn", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_every_command_explains_itself(name: str) -> None:
    said = help_of(name)
    assert f"usage: shortcut {name}" in said
    shown = {"sample": ["default 1)", "default 64", "default 0", "default 250", "arrays steps_1"],
             "evaluate": ["1 2 4 ... up to the most", "default 1000"],
             "interpolate": ["default 8", ">= 2"], "report": ["RUN/report.html"]}  # fmt: skip
    assert all(text in said for text in shown.get(name, []))


def test_help_of_train_lists_the_recipes() -> None:
    assert ", ".join(RECIPES) in help_of("train")


@pytest.mark.parametrize("name", RECIPES)
def test_help_of_a_recipe_has_the_meaning_range_and_default_of_every_field(name: str) -> None:
    said, recipe = help_of("train", name), RECIPES[name]
    assert recipe.about in said
    for part, prefix in (("task", "task."), ("network", "network."), ("objective", "objective."), ("training", "")):
        config = getattr(recipe, part)
        for option, _ in settable(config):
            default = getattr(config, option.name)
            assert f"--{prefix}{option.name.replace('_', '-')}" in said
            assert option.help
            assert option.help in said
            assert option.range in said
            assert f"default {'none' if default is None else default}" in said


def test_every_field_of_training_can_be_set() -> None:
    assert {option.name for option, _ in settable(Training)} == {field.name for field in dataclasses.fields(Training)}


@pytest.mark.parametrize("kind", ["network", "objective"])
def test_help_follows_the_network_and_objective_asked_for(kind: str) -> None:
    for name, cls in (NETWORKS if kind == "network" else OBJECTIVES).items():
        said = help_of("train", "digits", f"--{kind}", name)
        assert all(f"--{kind}.{option.name.replace('_', '-')}" in said for option in options(cls()))


def test_recipes_are_listed_with_their_results() -> None:
    said = shortcut("recipes").out
    for name, recipe in RECIPES.items():
        assert f"{name}\n" in said
        assert recipe.about in said
        assert recipe.measured in said


def test_the_version_is_told() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit):
        main(["--version"])
    assert said.getvalue() == f"shortcut-models {__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = """
import sys
from shortcut_models import cli
cli.recipes = lambda args: print("digits")
sys.exit(cli.main(["recipes"]))
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, env=environment())
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


# Train


def test_a_run_is_a_directory_with_everything_in_it(digits: Path) -> None:
    assert [name for name in sorted(os.listdir(digits)) if not name.startswith(".")] == [
        "checkpoints", "config.json", "metrics.jsonl", "samples",
    ]  # fmt: skip
    config = json.loads((digits / "config.json").read_text())
    assert config["version"] == __version__
    assert config["recipe"] == "digits"
    assert config["network"] == {"name": "mlp", "width": 16, "depth": 1, "expansion": 2, "condition_width": 128}
    assert config["training"]["steps"] == 12
    assert config["training"].keys() == {"name", *(field.name for field in dataclasses.fields(Training))}
    assert [json.loads(line)["step"] for line in (digits / "metrics.jsonl").read_text().splitlines()] == [5, 10, 12]
    assert steps_of(digits) == [5, 10, 12]
    assert Image.open(digits / "samples" / "step_00000012.png").format == "PNG"


def test_training_says_what_to_try_next_and_repeats_nothing(digits: Path) -> None:
    before = tree(digits)
    outcome = train(digits, "--checkpoint-every", 5)
    assert f"shortcut sample {digits} --steps 1 4 --out samples.npz" in outcome.out
    assert tree(digits) == before


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(digits: Path, tmp_path: Path) -> None:
    train(tmp_path / "same", "--checkpoint-every", 5)
    train(tmp_path / "other", "--checkpoint-every", 5, "--seed", 1)
    assert same(tensors(tmp_path / "same"), tensors(digits))
    other = tensors(tmp_path / "other")
    assert not any(torch.equal(other[name], value) for name, value in tensors(digits).items() if value.ndim == 2)


def test_rates_of_logging_and_saving_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, "--schedule", "constant", "--steps", 5)
    more = ("--checkpoint-every", 2, "--keep", 9, "--log-every", 3, "--heldout-every", 4, "--sample-every", 6)
    train(run, "--schedule", "constant", "--steps", 12, *more)
    train(tmp_path / "whole", "--schedule", "constant")
    assert same(tensors(run), tensors(tmp_path / "whole"))
    assert steps_of(run) == [5, 6, 8, 10, 12]
    assert sorted(os.listdir(run / "samples")) == [f"step_{step:08d}.png" for step in (5, 6, 12)]


def test_a_run_has_a_place_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortcut(*POINTS, "--steps", 2).code == 0
    assert steps_of(Path("runs/four-gaussians")) == [2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals, code: int) -> None:
    words = (*DIGITS, "--run", tmp_path / "run", "--steps", 400, "--log-every", 1)
    process = fork(words, said=tmp_path / "said")
    wait_until(lambda: bool(lines(tmp_path / "run")), process)
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == code
    (step,) = steps_of(tmp_path / "run")
    assert 0 < step < 400
    said = (tmp_path / "said").read_text()
    assert said.rstrip().splitlines()[-1] == (
        f"shortcut: stopped at step {step} of 400, and saved; run the same command again to go on"
    )
    assert "Traceback" not in said
    assert [json.loads(line)["step"] for line in lines(tmp_path / "run")] == list(range(1, step + 1))


def test_a_process_of_its_own_stops_just_so(tmp_path: Path) -> None:
    words = (*DIGITS, "--run", tmp_path / "run", "--steps", 100_000, "--log-every", 1)
    process = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True, env=environment())
    while not lines(tmp_path / "run"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "and saved; run the same command again to go on" in process.communicate(timeout=100)[1]
    assert process.returncode == 130
    assert len(steps_of(tmp_path / "run")) == 1


def wait_until(true: Callable[[], bool], process: BaseProcess) -> None:
    while not true():
        assert process.is_alive()
        time.sleep(0.02)


def test_processes_that_read_are_in_nobodys_way(tmp_path: Path) -> None:
    """After a kill they hold on to nothing; a signal to all, as from a terminal or a batch system, leaves them be."""
    words = (*DIGITS, "--run", tmp_path / "run", "--steps", 100_000, "--log-every", 1, "--workers", 2)
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        (tmp_path / "run" / "metrics.jsonl").unlink(missing_ok=True)
        process = fork(words, os.setsid, tmp_path / "said")
        wait_until(lambda: bool(lines(tmp_path / "run")), process)
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid or 0, number)
        process.join()
        assert process.exitcode == code
        assert "Traceback" not in (tmp_path / "said").read_text()


def lines(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    words = (*DIGITS, "--run", tmp_path / "run", "--steps", 100_000, "--log-every", 1)
    first = fork(words)
    try:
        wait_until(lambda: bool(lines(tmp_path / "run")), first)
        second = shortcut(*words)
        assert second.code == 2
        assert second.complaint == (
            f"shortcut: error: {tmp_path / 'run'} is being trained by another process: wait, or give another --run"
        )
        assert first.is_alive()
    finally:
        first.terminate()
        first.join()
    assert first.exitcode == 143


# A full disk, and places where nothing may be written


def test_a_full_disk_loses_nothing_and_the_run_goes_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the model fits, and the state, which is larger, does not."""
    run = tmp_path / "run"
    train(run, "--schedule", "constant", "--steps", 5)
    most = (run / "checkpoints" / "00000005" / "model.safetensors").stat().st_size + 1000
    before = tree(run / "checkpoints")
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    process = fork((*DIGITS, "--run", run, "--schedule", "constant"), limit, tmp_path / "said")
    process.join()
    assert process.exitcode == 2
    assert re.search(
        r"^shortcut: error: .*: File too large: mend that, then run the same command again; it goes on from the last "
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
            ((*POINTS, "--run", place / "new"), f"{place / 'new'}: Permission denied: mend that"),
            ((*POINTS, "--run", place / "run"), f"{place / 'run' / '.lock'}: Permission denied: mend that"),
            (("sample", place / "run", "--out", place / "s.npz"), f"nothing may be written in {place}: give another"),
            (("report", place / "run", "--out", place / "r.html"), f"nothing may be written in {place}: give another"),
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


# Sample, evaluate and the rest


def test_sample_writes_arrays_and_a_picture(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.npz"
    outcome = shortcut("sample", digits, "--steps", 1, 4, 3, 4, "--num", 23, "--seed", 7, "--out", out)
    assert outcome == (0, f"{out} and {tmp_path / 's.png'}\n", "")
    made = np.load(out)
    assert sorted(made.files) == ["labels", "steps_1", "steps_3", "steps_4"]
    assert all(made[f"steps_{steps}"].shape == (23, 8, 8) for steps in (1, 3, 4))
    assert made["labels"].tolist() == [i % 10 for i in range(23)]
    picture = Image.open(tmp_path / "s.png")
    assert picture.format == "PNG"
    assert np.asarray(picture.convert("L")).std() > 0
    assert sorted(os.listdir(tmp_path)) == ["s.npz", "s.png"]


def test_sample_does_as_the_python_interface(digits: Path, tmp_path: Path) -> None:
    from shortcut_models import load

    out = tmp_path / "s.npz"
    words = ("--num", 6, "--label", 3, "--guidance", 1.5, "--seed", 2, "--batch-size", 4, "--out", out)
    assert shortcut("sample", digits, *words).code == 0
    made = np.load(out)
    assert made["labels"].tolist() == [3] * 6
    assert np.array_equal(made["steps_1"], load(digits).sample(6, label=3, guidance=1.5, seed=2))
    lone = digits / "checkpoints" / "00000012" / "model.safetensors"
    assert shortcut("sample", lone, *words).code == 0
    assert np.array_equal(np.load(out)["steps_1"], made["steps_1"])


def test_evaluate_prints_a_table_and_writes_json(digits: Path, tmp_path: Path) -> None:
    outcome = shortcut("evaluate", digits, "--steps", 1, 2, "--num", 20, "--json", tmp_path / "e.json")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split()[:2] == ["steps", "accuracy"]
    assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == ["1", "2"]
    result = json.loads((tmp_path / "e.json").read_text())
    assert result == json.loads((digits / "evaluation.json").read_text())
    assert list(result["steps"]) == ["1", "2"]
    (digits / "evaluation.json").unlink()


def test_evaluate_takes_every_power_of_two_by_default(tmp_path: Path) -> None:
    train(tmp_path / "run", options=POINTS)
    shortcut("evaluate", tmp_path / "run", "--num", 10)
    assert list(json.loads((tmp_path / "run" / "evaluation.json").read_text())["steps"]) == ["1", "2", "4", "8"]


def test_interpolate_draws_a_picture(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    outcome = shortcut("interpolate", digits, "--steps", 1, "--pairs", 2, "--points", 3, "--label", 4, "--out", out)
    assert outcome == (0, f"{out}\n", "")
    assert Image.open(out).format == "PNG"


def test_animate_draws_both_figures(tmp_path: Path) -> None:
    train(tmp_path / "run", "--snapshots", 3, options=POINTS)
    outcome = shortcut("animate", tmp_path / "run", "--out", tmp_path / "rainbow.gif")
    assert outcome == (0, f"{tmp_path / 'rainbow.gif'}\n{tmp_path / 'rainbow-flow.gif'}\n", "")
    assert Image.open(tmp_path / "rainbow.gif").n_frames == 3  # type: ignore[attr-defined]


def test_report_is_written_into_the_run(digits: Path) -> None:
    outcome = shortcut("report", digits)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == str(digits / "report.html")
    assert (digits / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    (digits / "report.html").unlink()
    assert shortcut("report", digits, "--out", digits / "other.html").out == f"{digits / 'other.html'}\n"
    (digits / "other.html").unlink()


def test_the_command_is_also_a_module(digits: Path, tmp_path: Path) -> None:
    outcome = shell("sample", digits, "--num", 2, "--out", tmp_path / "s.npz")
    assert outcome.code == 0, outcome.err
    assert shell("sample", digits, "--num", 0, "--out", tmp_path / "t.npz") == (
        2, "", "shortcut: error: num must be a whole number of at least 1, not 0\n",
    )  # fmt: skip
