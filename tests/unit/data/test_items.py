"""Data sets of every kind, read by rows, and one line for each thing that can be wrong with an item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, TensorDataset

from shortcut_models.base import Batch
from shortcut_models.data.arrays import ArrayDataset
from shortcut_models.data.facts import find_facts
from shortcut_models.data.items import DATA, Items
from shortcut_models.errors import UserError

X = torch.arange(24.0).reshape(6, 4)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


class Listed:
    """A map-style data set of the items in a list."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class AtOnce(Listed):
    """One that is read many items at a time alone."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self.items[index] for index in indices]

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("read them together")


def listed(make: Callable[[int], Any], count: int = 6) -> Listed:
    return Listed([make(index) for index in range(count)])


def hugging_face() -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"data": X.tolist(), "label": LABELS.tolist()})


@pytest.mark.parametrize(
    "source",
    [
        (X, LABELS),
        (X.numpy(), LABELS.numpy()),
        (X.double().numpy(), LABELS.numpy().astype(np.uint16)),
        {"x": X, "label": LABELS},
        TensorDataset(X, LABELS),
        listed(lambda i: (X[i], int(LABELS[i]))),
        listed(lambda i: [X[i].numpy(), LABELS[i]]),
        listed(lambda i: (X[i], {"label": LABELS[i]})),
        listed(lambda i: {"data": X[i].tolist(), "label": np.int64(LABELS[i])}),
        AtOnce([(X[i], LABELS[i]) for i in range(6)]),
        ArrayDataset(X, {"label": LABELS}),
        hugging_face,
    ],
    ids=range(12),
)
def test_every_form_gives_the_same(source: Any) -> None:
    items = Items(source() if source is hugging_face else source)
    found = items.tensors([4, 0, 5])
    assert len(items) == 6
    assert torch.equal(found[DATA], X[[4, 0, 5]])
    assert found[DATA].dtype == torch.float32
    assert torch.equal(found["label"], LABELS[[4, 0, 5]])
    assert find_facts(items, 6, None, standardise=True).counts == (3,)


def test_data_alone_and_vectors() -> None:
    assert list(Items(X).tensors([0])) == list(Items(listed(lambda i: X[i])).tensors([0])) == [DATA]
    assert list(Items((X, X)).tensors([0])) == list(Items(listed(lambda i: (X[i], 0.5))).tensors([0])) == [DATA, "cond"]
    named = Items(listed(lambda i: (X[i], i, X[i])), names=("number", "state")).tensors([3])
    assert named["number"].tolist() == [3]
    assert torch.equal(named["state"], X[3:4])
    chosen = Items({"signal": X, "other": X, "label": LABELS}, "signal", ("label",)).tensors([1])
    assert list(chosen) == [DATA, "label"]


def test_pictures_become_channels_first() -> None:
    grey, colour = Image.new("L", (5, 4), 7), Image.new("RGB", (5, 4), (1, 2, 3))
    assert Items(listed(lambda i: (grey, 0))).tensors([0])[DATA].shape == (1, 1, 4, 5)
    found = Items(listed(lambda i: colour)).tensors([0, 1])[DATA]
    assert found.dtype == torch.uint8
    assert found[1, :, 0, 0].tolist() == [1, 2, 3]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Stream(), "a Stream cannot be read by rows: pass a Dataset"),
        (3, "a int cannot be read by rows"),
        ("photos", "'photos' is a path"),
        (X[:0], "the dataset is empty"),
        ([], "the dataset is empty"),
        ((X, LABELS[:5]), "6 rows of data and 5 of label"),
        ((X, LABELS, LABELS), "2 parts after its data, and condition_names 0"),
        ({"a": X, "b": X}, "the dataset has a, b, and none is data: name the data with data_key"),
        ({"x": X, "name": ["a"] * 6}, "name is a list, not an array"),
        (torch.tensor(1.0), "data is a Tensor, not an array"),
    ],
)
def test_a_source_that_cannot_be_read(source: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Items(source)


def swapped(index: int, item: Any) -> Listed:
    """Six items of which one is another."""
    items = [(X[i], {"state": X[i], "label": i % 3}) for i in range(6)]
    return Listed([*items[:index], item, *items[index + 1 :]])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            (X[0, :3], {"state": X[0], "label": 1}),
            r"item 4 has shape \[3\], and it must be \[4\], as in item 0: pad them",
        ),
        ((X[0], {"state": X[0, :3], "label": 1}), r"item 4 has 'state' of shape \[3\], and it must be \[4\]"),
        ((X[0], {"state": X[0]}), "item 4 has no 'label', which item 0 has"),
        ((X[0], {"state": X[0] / 0, "label": 1}), "item 4 has NaN or infinity in state"),
        ((X[0] * torch.nan, {"state": X[0], "label": 1}), "item 4 has NaN or infinity in its data"),
        (("text", {"state": X[0], "label": 1}), "item 4: data is a str, not a tensor"),
        ((None, {"state": X[0], "label": 1}), "item 4: data is a NoneType, not a tensor"),
        ((X[0], {"state": X[0], "label": "cat"}), "item 4: label is a str, .* choose others with condition_names"),
        ((np.array([{}, 1], object), {"state": X[0], "label": 1}), "item 4: data is objects, not numbers"),
        ((X[0] + 1j, {"state": X[0], "label": 1}), "item 4: data is torch.complex64: make it dense"),
        (([[1.0], [1.0, 2.0]], {"state": X[0], "label": 1}), "item 4: the lists in data have different lengths"),
        ((Image.new("RGBA", (2, 2)), {"state": X[0], "label": 1}), "item 4: data is a picture of mode RGBA"),
    ],
)
def test_a_wrong_item_is_named(item: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_facts(Items(swapped(4, item)), 6, None, standardise=True)


def test_a_wrong_row_of_arrays_is_named() -> None:
    wrong = X.clone()
    wrong[5, 2] = torch.inf
    with pytest.raises(UserError, match="item 5 has NaN or infinity in its data"):
        find_facts(Items((wrong, LABELS)), 1, None, standardise=True)  # all rows are looked at


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (LABELS + 1, None, "label goes up to 3 and is never 0: number the classes from 0, or pass classes=4"),
        (LABELS * 2, None, "label goes up to 4 and is never 1"),
        (LABELS - 1, None, "label goes down to -1: number the classes from 0"),
        (LABELS, 2, "label goes up to 2, and there are 2 classes"),
    ],
)
def test_labels_that_are_not_counted_from_0(labels: Any, classes: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_facts(Items((X, labels)), 6, classes, standardise=True)
    assert find_facts(Items((X, LABELS)), 6, 9, standardise=True).counts == (9,)


def test_labels_of_items_that_are_read_one_by_one_may_have_gaps_but_not_be_numbers_of_items() -> None:
    assert find_facts(Items(listed(lambda i: (X[0], i % 3 * 2), 20)), 10, None, standardise=True).counts == (5,)
    with pytest.raises(UserError, match="label goes up to 5001 and is never 1"):
        find_facts(Items(listed(lambda i: (X[i], 1000 * i + i % 2))), 6, None, standardise=True)


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        ({"t": 1}, "a condition cannot be named 't'"),
        ({"a.b": 1}, "a condition cannot be named 'a.b'"),
        ({"type": 1}, "a condition cannot be named 'type'"),
        (
            {"map": torch.zeros(3, 3)},
            r"map has shape \[3, 3\] in each item: a condition is a whole number, a vector or",
        ),
        ({"mask": torch.ones(2)}, r"the mask has shape \[2\] and the data \[4\]"),
        ({"mask": torch.full((4,), 0.5)}, "the mask has other numbers than 0 and 1"),
        ({"mask": torch.ones(4, 1)}, r"the mask has shape \[4, 1\] and the data \[4\]"),
    ],
)
def test_conditions_that_no_network_can_have(cond: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_facts(Items(listed(lambda i: (X[i], cond))), 6, None, standardise=True)


def test_units_are_those_of_all_numbers() -> None:
    torch.manual_seed(3)
    x, state = 5 + 3 * torch.randn(500, 2, 7), torch.randn(500, 2) * torch.tensor([1e-4, 1e4]) + 7
    facts = find_facts(Items({"x": x, "state": state, "scalar": torch.full((500,), 4.0)}), 10, None, standardise=True)
    assert (facts.mean, facts.deviation) == pytest.approx((float(x.mean()), float(x.std(correction=0))), rel=1e-5)
    assert facts.centres[0] == pytest.approx(state.double().mean(0).tolist(), rel=1e-5)
    assert facts.scales[0] == pytest.approx(state.double().std(0, correction=0).tolist(), rel=1e-5)
    assert (facts.centres[1], facts.scales[1]) == ((4.0,), (1.0,))  # which does not vary


def test_items_that_are_random_have_the_same_facts_every_time() -> None:
    def noisy(index: int) -> torch.Tensor:
        return torch.randn(3) + np.random.rand()  # noqa: NPY002

    class Noisy(Listed):
        def __getitem__(self, index: int) -> Any:
            return noisy(index)

    state = torch.random.get_rng_state()
    first, second = (find_facts(Items(Noisy([0] * 50)), 50, None, standardise=True) for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), state)


def test_names_of_classes_of_torchvision_and_hugging_face() -> None:
    source = listed(lambda i: (X[i], i % 2))
    source.classes = ["cat", "dog", "owl"]  # type: ignore[attr-defined]
    facts = find_facts(Items(source), 6, None, standardise=True)
    assert (facts.class_names, facts.counts) == (("cat", "dog", "owl"), (3,))
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"x": datasets.Sequence(datasets.Value("float32")),
                                  "label": datasets.ClassLabel(names=["up", "down"])})  # fmt: skip
    table = datasets.Dataset.from_dict({"x": X.tolist(), "label": [0] * 6}, features=features)
    facts = find_facts(Items(table), 6, None, standardise=True)
    assert (facts.class_names, facts.counts) == (("up", "down"), (2,))


def test_a_batch_of_a_data_set_of_the_package_is_taken_apart() -> None:
    class Rows(Listed):
        def __getitems__(self, indices: list[int]) -> Batch:
            return Batch(X[indices], {"label": LABELS[indices]})

    assert Items(Rows([0] * 6)).tensors([2])["label"].tolist() == [2]


def test_items_that_are_sorted_are_looked_at_from_end_to_end() -> None:
    """Of items read one by one, random ones; of arrays, all labels, however large the data is."""
    items = Items(listed(lambda i: (torch.full((2,), float(i // 10)), i // 10), 100))
    facts = find_facts(items, 50, None, standardise=True)
    assert facts.counts == (10,)
    assert facts.mean == pytest.approx(4.5, abs=0.7)
    data, labels = np.zeros((3000, 2)), np.repeat(np.arange(1500), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shortcut_models.data.facts.IN_MEMORY", 100)
        assert find_facts(Items((data, labels)), 10, None, standardise=True).counts == (1500,)
