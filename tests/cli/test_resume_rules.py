"""What the same command, or nearly the same, does in the directory of a run that is there."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from filelock import FileLock

from helpers.image_files import make_folder, pictures
from helpers.runs import DIGITS, OPTIONS, POINTS, assert_refused, shortcut, steps_of, tensors, train, tree
from shortcut_models.models.run import Run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_the_same_images_under_another_spelling_continue(here: Path) -> None:
    make_folder(here / "f", pictures(20), None)
    (here / "link").symlink_to("f")
    images = functools.partial(train, options=("train", "images", *OPTIONS))
    for steps, name in enumerate(("f", "f/", "./f", here / "f", "link/", "~/f", "f"), 3):
        images(Path("run"), "--data", name, "--train-steps", steps)
        assert steps_of(Path("run"))[-1] == steps


@pytest.mark.long
def test_a_teacher_and_first_weights_under_another_spelling_continue(here: Path) -> None:
    train(Path("flow"), "--objective", "flow", options=POINTS)
    (here / "link").symlink_to("flow")
    for steps, name in enumerate(("flow", "flow/", "./flow", here / "flow", "link", "~/flow"), 3):
        train(Path("warm"), "--init-from", name, "--train-steps", steps, options=POINTS)
        words = ("--objective", "consistency-distillation", "--teacher", name, "--train-steps", steps)
        train(Path("student"), *words, options=POINTS)
        assert steps_of(Path("warm"))[-1] == steps_of(Path("student"))[-1] == steps


def test_overwrite_starts_from_scratch_and_leaves_what_is_not_of_the_run(here: Path) -> None:
    train(Path("fresh"), "--seed", 1, "--train-steps", 4)
    train(Path("run"))
    shortcut("report", "run")
    shortcut("evaluate", "run", "--num", 10, "--steps", 1)
    Path("run/notes.txt").write_text("mine")
    assert_refused((*DIGITS, "--run", "run", "--seed", 1), "run was started with --seed 0, not 1")
    train(Path("run"), "--seed", 1, "--train-steps", 4, "--overwrite")
    assert {path.name for path in Path("run").iterdir()} == {path.name for path in Path("fresh").iterdir()} | {
        "notes.txt"
    }
    assert set(tensors(Path("run"))) == set(tensors(Path("fresh")))
    assert steps_of(Path("run")) == steps_of(Path("fresh"))
    train(Path("run"), "--seed", 1, "--train-steps", 6)  # and resumes as any other


def test_overwrite_of_nothing_is_a_first_training(here: Path) -> None:
    train(Path("run"), "--overwrite")
    Path("empty").mkdir()
    train(Path("empty"), "--overwrite")


def test_overwrite_is_refused_while_another_process_trains_there(here: Path) -> None:
    train(Path("run"))
    before = tree(Path("run"))
    with FileLock("run/.lock"):
        assert_refused((*DIGITS, "--run", "run", "--overwrite"), "run is being trained by another process: wait, or")
    assert tree(Path("run")) == before


PAIRS = ("--objective", "reflow", "--objective.pairs", 40, "--objective.pair-steps", 2)


def test_overwrite_trains_the_teacher_again_too(here: Path) -> None:
    train(Path("run"), *PAIRS, options=POINTS)
    Path("run/notes.txt").write_text("mine")
    first = tensors(Path("run-teacher"))
    train(Path("run"), *PAIRS, "--seed", 1, "--overwrite", options=POINTS)
    assert any((first[name] != value).any() for name, value in tensors(Path("run-teacher")).items())
    assert Run("run").read_config()["training"]["seed"] == 1
    assert Path("run/notes.txt").exists()


@pytest.mark.parametrize("busy", ["run", "run-teacher"])
def test_overwrite_is_refused_while_student_or_teacher_train(here: Path, busy: str) -> None:
    train(Path("run"), *PAIRS, options=POINTS)
    before = [tree(Path(name)) for name in ("run", "run-teacher")]
    with FileLock(f"{busy}/.lock"):
        assert_refused((*POINTS, *PAIRS, "--run", "run", "--overwrite"), f"{busy} is being trained by another process")
    assert [tree(Path(name)) for name in ("run", "run-teacher")] == before


def test_a_run_on_another_disk_is_overwritten_through_its_link(here: Path) -> None:
    train(here / "disk" / "run")
    os.symlink("disk/run", "run")
    train(Path("run"), "--seed", 1, "--overwrite")
    assert Path("run").is_symlink()
    assert Run("disk/run").read_config()["training"]["seed"] == 1
