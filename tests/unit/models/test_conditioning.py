"""What samples are conditioned on: classes by name and number, and other conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from helpers.models import FLOWERS, NAMES, Steered, model_of
from helpers.runs import refusal
from shortcut_models.models.model import Model
from shortcut_models.randomness import sample_noise
from shortcut_models.tasks import Images, Toy

STATE = np.arange(12, dtype=np.float64).reshape(3, 4) / 10


@pytest.fixture(scope="module")
def flowers() -> Model:
    return model_of(FLOWERS)


@pytest.fixture(scope="module")
def steered() -> Model:
    return model_of(Steered())


@pytest.mark.parametrize(
    ("label", "numbers"),
    [
        ("tulip", [2, 2, 2]), (2, [2, 2, 2]), (np.int64(2), [2, 2, 2]), (np.array(2), [2, 2, 2]),
        (torch.tensor(2), [2, 2, 2]), (["tulip", 0, "rose"], [2, 0, 1]), (("daisy", "daisy", 1), [0, 0, 1]),
        (np.array([2, 1, 0]), [2, 1, 0]), (torch.tensor([2, 1, 0]), [2, 1, 0]), (np.array(NAMES), [0, 1, 2]),
        (None, [0, 1, 2]),
    ],
)  # fmt: skip
def test_classes_by_name_and_number(flowers: Model, label: Any, numbers: list[int]) -> None:
    assert flowers.labels(3, label).tolist() == numbers
    expected = flowers.sample_from(sample_noise(0, range(3), (3, 8, 8)), 1, {"label": torch.tensor(numbers)})
    np.testing.assert_array_equal(flowers.sample(3, label=label), expected)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("tulpi", "from 0 to 2 or the name of a class, not 'tulpi': did you mean tulip"),
        ("Tulip", "not 'Tulip': did you mean tulip"),
        ("zebra", "not 'zebra': choose one of daisy, rose, tulip"),
        ("2", "not '2'"),
        ("", "not ''"),
        (["rose", "zebra", 1], "not 'zebra'"),
        (["rose", 3, 1], "from 0 to 2 or the name of a class, not 3"),
        (["rose"], "label must be one class or 3 of them, not 1"),
        (True, "not True"),
        ([True, False, True], "not True"),
        (1.0, "not 1.0"),
        ([None, 1, 1], "not None"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_unknown_classes_are_refused(flowers: Model, label: Any, message: str) -> None:
    with refusal(message):
        flowers.sample(3, label=label)


def test_many_names_are_not_all_shown() -> None:
    names = tuple(f"kind of flower {n}" for n in range(100))
    model = model_of(Images(image_size=8, channels=1, classes=100, class_names=names))
    with refusal("choose one of kind of flower 0, .*kind of flower 11, ...$"):
        model.sample(1, label="x")


def test_classes_without_names_are_numbers() -> None:
    with refusal("label must be a whole number from 0 to 2, not 'rose'$"):
        model_of(Images(image_size=8, channels=1, classes=3)).sample(2, label="rose")


@pytest.mark.parametrize("state", [STATE, STATE.astype(np.float32), torch.tensor(STATE), STATE.tolist()])
@pytest.mark.parametrize("label", [None, "rose", ["rose", 2, 0]])
def test_conditions_of_each_sample(steered: Model, state: Any, label: Any) -> None:
    cond = {"label": torch.from_numpy(steered.labels(3, label)), "state": torch.tensor(STATE).float()}
    expected = steered.sample_from(sample_noise(5, range(3), (2,)), 4, cond)
    made = steered.sample(3, steps=4, label=label, cond={"state": state}, seed=5)
    np.testing.assert_array_equal(made, expected)
    within = {"state": state, "label": [0, 1, 2] if label is None else label}
    np.testing.assert_array_equal(steered.sample(3, steps=4, cond=within, seed=5), expected)
    parts = steered.sample(3, steps=4, label=label, cond={"state": state}, seed=5, batch_size=2)
    np.testing.assert_allclose(parts, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("state", [STATE[1], STATE[1:2], torch.tensor(STATE[1]), list(STATE[1])])
def test_one_row_is_for_all(steered: Model, state: Any) -> None:
    expected = steered.sample(4, cond={"state": np.repeat(STATE[1:2], 4, 0), "label": [1] * 4})
    np.testing.assert_array_equal(steered.sample(4, cond={"state": state, "label": "rose"}), expected)
    np.testing.assert_array_equal(steered.sample(4, cond={"state": state, "label": [1]}), expected)


def test_whole_numbers_are_numbers(steered: Model) -> None:
    made = steered.sample(2, cond={"state": np.array([1, 0, 2, 0])})
    np.testing.assert_array_equal(made, steered.sample(2, cond={"state": [1.0, 0.0, 2.0, 0.0]}))


def test_without_conditions_the_task_chooses(steered: Model) -> None:
    expected = steered.sample(3, label="rose", cond={"state": np.zeros(4)})
    np.testing.assert_array_equal(steered.sample(3, label="rose"), expected)


def test_the_label_is_a_condition_like_others(flowers: Model) -> None:
    np.testing.assert_array_equal(flowers.sample(3, cond={"label": "rose"}), flowers.sample(3, label="rose"))
    np.testing.assert_array_equal(flowers.sample(3, cond={}), flowers.sample(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cond": {}}, "cond does not have 'state': pass one row of it for all samples, or 3 rows"),
        ({"cond": {"state": STATE, "pose": 1}}, "cond has 'pose', which this model is not .* are label, state$"),
        ({"cond": {"state": STATE[:2]}}, r"cond 'state' has the shape \[2, 4\]: pass \[3, 4\], or 1 row"),
        ({"cond": {"state": 1.0}}, r"cond 'state' has the shape \[\]: pass \[3, 4\]"),
        ({"cond": {"state": STATE[:, :3]}}, r"'state' is float32 \[3, 3\], and must be floats \[3, 4\]"),
        ({"cond": {"state": STATE * np.nan}}, "cond 'state' holds a number that is not finite"),
        ({"cond": {"state": STATE + 1j}}, "cond 'state' holds complex numbers"),
        ({"cond": {"state": "north"}}, "cond 'state' is not an array of numbers"),
        ({"cond": {"state": np.array([{}, 1, 2, 3])}}, "cond 'state' is not an array of numbers"),
        ({"cond": {"state": None}}, "cond 'state' is not an array of numbers"),
        ({"cond": {"state": STATE, "label": 5}}, "label must be a whole number from 0 to 2"),
        ({"cond": {"state": STATE, "label": [0, 1]}}, "label must be one class or 3 of them, not 2"),
        ({"cond": {"state": STATE, "label": 1}, "label": 1}, r"label and cond\['label'\] are both given"),
        ({"cond": [STATE]}, "cond must be a dict of arrays by name, not list"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_conditions_that_do_not_fit_are_refused(steered: Model, options: dict[str, Any], message: str) -> None:
    with refusal(message):
        steered.sample(3, **options)


def test_a_model_without_conditions_takes_none() -> None:
    with refusal("cond has 'label', which this model is not conditioned on: its conditions are none"):
        model_of(Toy()).sample(3, cond={"label": 1})


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        ({}, "the condition 'label' is missing"),
        ({"label": torch.tensor([0, 1, 3]), "state": torch.zeros(3, 4)}, "'label' must be whole numbers from 0 to 2"),
        ({"label": torch.zeros(3), "state": torch.zeros(3, 4)}, r"'label' is float32 \[3\], and must be whole numbers"),
        ({"label": torch.zeros(2, dtype=torch.int64), "state": torch.zeros(3, 4)}, r"'label' is int64 \[2\]"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_sample_from_refuses_conditions_that_do_not_fit(steered: Model, cond: Any, message: str) -> None:
    with refusal(message):
        steered.sample_from(torch.randn(3, 2), 1, cond)
