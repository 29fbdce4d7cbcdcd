"""`shortcut sample` with classes by name, and into a folder of pictures."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.models import FLOWERS, model_of
from helpers.runs import assert_refused, shortcut, tree
from shortcut_models import Model, load
from shortcut_models.drawing.sheets import stack
from shortcut_models.tasks import Images, Toy


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model_of(FLOWERS).save(tmp_path / "flowers")
    model_of(Toy()).save(tmp_path / "points")
    return tmp_path


def flowers() -> Model:
    return load("flowers")


def pictures(folder: str) -> dict[str, np.ndarray]:
    paths = sorted(Path(folder).rglob("*.png"))
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)) for path in paths}


def test_classes_by_name_in_turn() -> None:
    words = ("--steps", 2, "--num", 5, "--seed", 3, "--guidance", 1.5, "--out", "s.npz")
    assert shortcut("sample", "flowers", "--label", "tulip", *words).err == ""
    found = np.load("s.npz")
    assert found["labels"].tolist() == [2] * 5
    np.testing.assert_array_equal(found["steps_2"], flowers().sample(5, steps=2, seed=3, guidance=1.5, label="tulip"))
    assert shortcut("sample", "flowers", "--label", "0", "tulip", *words).code == 0
    assert np.load("s.npz")["labels"].tolist() == [0, 2, 0, 2, 0]


def test_the_picture_has_the_names_of_the_classes() -> None:
    assert shortcut("sample", "flowers", "--num", 3, "--label", "rose", 0, "--out", "s.npz").code == 0
    model = flowers()
    sheet = model.draw(np.load("s.npz")["steps_1"], np.array([1, 0, 1]), model.task.preview_grid[1])
    assert np.array_equal(np.asarray(Image.open("s.png")), np.asarray(stack(["1 step"], [sheet])))


def test_a_number_is_that_of_a_class_also_where_a_class_has_it_as_its_name() -> None:
    names = ("0", "1", "10", "2")
    model_of(Images(image_size=8, channels=1, classes=4, class_names=names)).save("numbers")
    outcome = shortcut("sample", "numbers", "--label", 2, "--num", 2, "--out", "s.npz")
    assert "warning: --label 2 is class number 2, 10; the class named 2 is number 3" in outcome.err
    assert np.load("s.npz")["labels"].tolist() == [2, 2]
    assert shortcut("sample", "numbers", "--label", 1, "--num", 2, "--out", "s.npz").err == ""


def test_interpolate_takes_names() -> None:
    words = ("--pairs", 2, "--points", 2, "--out")
    assert shortcut("interpolate", "flowers", *words, "a.png", "--label", "tulip", "rose").code == 0
    assert shortcut("interpolate", "flowers", *words, "b.png", "--label", 2, 1).code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


@pytest.mark.parametrize("out", ["made/", "made", "deep.er/"])
def test_a_folder_gets_a_picture_of_each_sample(out: str) -> None:
    if not out.endswith("/"):
        Path(out).mkdir()
    words = ("--steps", 1, 4, "--num", 4, "--seed", 3, "--label", "tulip", "rose", "--batch-size", 3, "--out", out)
    outcome = shortcut("sample", "flowers", *words)
    assert (outcome.code, outcome.out) == (0, f"{Path(out)}\n"), outcome.err
    names = ["00000_tulip.png", "00001_rose.png", "00002_tulip.png", "00003_rose.png"]
    found = pictures(out)
    assert list(found) == [f"steps_{steps}/{name}" for steps in (1, 4) for name in names]
    for steps in (1, 4):
        made = flowers().sample(4, steps=steps, seed=3, label=[2, 1, 2, 1], batch_size=3)
        np.testing.assert_array_equal(np.stack([found[f"steps_{steps}/{name}"] for name in names]), made)
    facts = json.loads((Path(out) / "samples.json").read_text())
    assert facts == {"model": "flowers", "steps": [1, 4], "num": 4, "seed": 3, "labels": [2, 1, 2, 1],
                     "guidance": 1.0, "precision": "fp32"}  # fmt: skip


def test_a_folder_of_the_same_command_is_replaced() -> None:
    assert shortcut("sample", "flowers", "--steps", 1, 2, "--num", 4, "--out", "made/").code == 0
    assert shortcut("sample", "flowers", "--steps", 4, "--num", 2, "--out", "made").code == 0
    assert list(pictures("made")) == ["steps_4/00000_daisy.png", "steps_4/00001_rose.png"]
    assert sorted(path.name for path in Path().iterdir()) == ["flowers", "made", "points"]


def test_a_run_of_digits_gives_pictures_named_by_number(digits_run: Path) -> None:
    assert shortcut("sample", digits_run, "--num", 2, "--label", 7, "--out", "made/").code == 0
    found = pictures("made")
    assert list(found) == ["steps_1/00000_7.png", "steps_1/00001_7.png"]
    assert found["steps_1/00000_7.png"].shape == (8, 8)


def test_what_is_left_of_an_interrupted_command_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shortcut("sample", "flowers", "--num", 2, "--out", "made/")
    before, saved = tree(Path()), []

    def full(self: Image.Image, path: Any, *rest: Any) -> None:
        saved.append(path)
        if len(saved) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        Path(path).touch()

    monkeypatch.setattr(Image.Image, "save", full)
    outcome = shortcut("sample", "flowers", "--num", 5, "--out", "made/")
    assert outcome.code == 2
    assert "No space left on device" in outcome.complaint
    assert tree(Path()) == before


REFUSED = {
    "points": ("sample points --out made/", "the samples of Toy are not pictures"),
    "other files": ("sample flowers --out mine/", "mine holds thesis.tex, which `shortcut sample` did not write"),
    "other files, as a folder": ("sample flowers --out mine", "mine holds thesis.tex"),
    "a run": ("sample flowers --out flowers", "flowers holds config.json, which `shortcut sample` did not write"),
    "a file": ("sample flowers --out mine/thesis.tex/", "thesis.tex is a file: choose another folder"),
    "below a file": ("sample flowers --out mine/thesis.tex/made/", "mine/thesis.tex is not a folder"),
    "below nothing": ("sample flowers --out nowhere/made/", "nowhere is not a folder: make it first"),
    "neither": ("sample flowers --out made", "the name of made must end in .npz, or in / for a folder of pictures"),
    "another kind": ("sample flowers --out made.zip", "made.zip must end in .npz, or in / for a folder of pictures"),
    "label": ("sample flowers --out made/ --label zebra", "not 'zebra': choose one of daisy, rose, tulip"),
    "one of labels": ("sample flowers --out made/ --label 1 tulpi", "not 'tulpi': did you mean tulip"),
    "many labels": ("sample flowers --out made/ --num 1 --label 1 2", "--label names 2 classes for 1"),
    "no label": ("sample flowers --out made/ --label", "--label needs at least one value"),
    "label of none": ("sample points --out s.npz --label 1", "trained without labels"),
    "interpolated label": ("interpolate flowers --out i.png --label tulpi", "did you mean tulip"),
    "steps": ("sample flowers --out made/ --steps 99", "--steps must be whole numbers from 1 to 16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_one_line(place: Path, name: str) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").write_text("words")
    words, message = REFUSED[name]
    assert_refused(words, message, unchanged=place)


def test_a_folder_with_something_of_the_user_beside_samples_stays(place: Path) -> None:
    shortcut("sample", "flowers", "--num", 2, "--out", "made/")
    (place / "made" / "steps_1" / "notes.txt").write_text("the best ones")
    assert_refused("sample flowers --num 2 --out made/", "made holds steps_1/notes.txt", unchanged=place)
