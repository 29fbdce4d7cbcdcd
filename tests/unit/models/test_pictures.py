"""Samples as arrays, tensors and pictures, and the names of classes in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.models import FLOWERS, NAMES, Steered, model_of
from helpers.runs import refusal
from shortcut_models.drawing.sheets import stack
from shortcut_models.models.model import Model
from shortcut_models.models.pictures import file_name
from shortcut_models.reports.interpolation import interpolate
from shortcut_models.tasks import Digits, Images, ImportedModel, Toy
from shortcut_models.training.previews import picture

GREY = Images(image_size=8, channels=1)
TASKS: dict[str, Any] = {
    "colour": FLOWERS, "grey": GREY, "digits": Digits(), "points": Toy(), "latents": ImportedModel((4, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_tensor_has_the_numbers_of_the_array(name: str) -> None:
    model = model_of(TASKS[name])
    array, tensor = model.sample(3, steps=2), model.sample(3, steps=2, output="torch")
    assert isinstance(tensor, torch.Tensor)
    assert tensor.device == model.device
    assert tensor.numpy().dtype == array.dtype
    np.testing.assert_array_equal(tensor, array)


def test_pictures_have_the_pixels_of_the_samples() -> None:
    model = model_of(FLOWERS)
    made, pictures = model.sample(4, label="rose", seed=3), model.sample(4, label="rose", seed=3, output="pil")
    assert [(each.mode, each.size) for each in pictures] == [("RGB", (8, 8))] * 4
    np.testing.assert_array_equal(np.stack([np.asarray(each) for each in pictures]), made)
    grey = model_of(GREY)
    (one,) = grey.sample(1, output="pil")
    assert one.mode == "L"
    np.testing.assert_array_equal(np.asarray(one), grey.sample(1)[0, ..., 0])


def test_digits_are_black_on_white() -> None:
    model = model_of(Digits())
    (one,) = model.sample(1, steps=4, output="pil")
    np.testing.assert_array_equal(np.asarray(one), (255 - model.sample(1, steps=4)[0] / 16 * 255).astype(np.uint8))


def test_latents_show_three_channels() -> None:
    model = model_of(ImportedModel((4, 8, 8)))
    (one,) = model.sample(1, output="pil")
    shown = ((model.sample(1)[0, :3] + 1) * 127.5).round().clip(0, 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(one), shown)


def test_samples_that_are_no_pictures_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "sample_from", None)
    with refusal("the samples of Toy are not pictures: use them as arrays"):
        model_of(Toy()).sample(3, output="pil")


@pytest.mark.usefixtures("annotations_unchecked")
def test_an_unknown_output_is_refused() -> None:
    with refusal("output must be numpy, torch or pil, not 'jpeg'"):
        model_of(Toy()).sample(3, output="jpeg")  # type: ignore[call-overload]


# Names of classes


def tiles(model: Model, made: np.ndarray) -> list[Image.Image]:
    return [model.task.draw(each[None], 1) for each in made]


def same(first: Image.Image, second: Image.Image) -> bool:
    return np.array_equal(np.asarray(first.convert("RGB")), np.asarray(second.convert("RGB")))


def test_samples_are_below_the_names_of_their_classes() -> None:
    model = model_of(FLOWERS)
    made, labels = model.sample(4), model.labels(4)
    drawn = model.draw(made, labels, 2)
    assert same(drawn, stack(["daisy", "rose", "tulip", "daisy"], tiles(model, made), 2))
    assert not same(drawn, model.draw(made, labels[::-1].copy(), 2))
    few = model.draw(made, np.array([-1, 1, -1, -1]), 2)
    assert same(few, stack(["", "rose", "", ""], tiles(model, made), 2))


@pytest.mark.parametrize("task", [GREY, Digits(), Toy(), Steered()], ids=["no labels", "no names", "none", "points"])
def test_others_are_drawn_as_before(task: Any) -> None:
    model = model_of(task)
    made = model.sample(3)
    assert same(model.draw(made, model.labels(3), 2), task.draw(made, 2))
    assert same(model.draw(made, np.full(3, -1), 2), task.draw(made, 2))


def test_long_names_are_cut() -> None:
    names = ("a dog of a very old breed", "cat", "b")
    model = model_of(Images(image_size=8, channels=1, classes=3, class_names=names))
    made = model.sample(1)
    assert same(model.draw(made, np.array([0]), 1), stack(["a dog of a very…"], tiles(model, made), 1))


@pytest.mark.usefixtures("annotations_unchecked")
def test_previews_and_interpolations_have_names(tmp_path: Path) -> None:
    class Processes:
        main = True

        def all_reduce_max(self, number: int) -> int:
            return number

    class Side:
        state = type("State", (), {"processes": Processes()})
        clock = staticmethod(lambda: 0.0)

    model = model_of(FLOWERS)
    picture(model, tmp_path / "p.png", [1], Side())  # type: ignore[arg-type]
    num, columns = FLOWERS.preview_grid
    sheet = model.draw(model.sample(num), model.labels(num), columns)
    assert same(Image.open(tmp_path / "p.png"), stack(["1 step"], [sheet]))
    made = model.interpolate(2, 3, seed=1, label=["tulip", "rose"]).reshape(6, 8, 8, 3)
    expected = stack(["tulip", "", "", "rose", "", ""], tiles(model, made), 3)
    assert same(interpolate(model, 1, 2, 1, 3, ["tulip", "rose"]), expected)


def test_names_of_files_are_names_that_every_system_takes() -> None:
    named = Images(class_names=("tulip", "a/b\\c: d?", "ж" * 80), classes=3)
    assert file_name(named, 3, 64, 0) == "00003_tulip.png"
    assert file_name(named, 3, 64, 1) == "00003_a-b-c-d-.png"
    assert file_name(named, 3, 64, 2) == f"00003_{'ж' * 50}.png"
    assert file_name(Digits(), 12, 200_000, 7) == "000012_7.png"
    assert file_name(GREY, 0, 1, -1) == "00000.png"
    assert len({file_name(named, row, 3, row) for row in range(len(NAMES))}) == 3
