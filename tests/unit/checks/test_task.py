"""`check_task` names what is wrong with a task: one broken task for each kind of fault."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from helpers.runs import refusal
from shortcut_models.base import Batch, Frames, Label, Task, Vector
from shortcut_models.checks import check_task
from shortcut_models.data.arrays import ArrayDataset
from shortcut_models.metrics import catalogue
from shortcut_models.tasks import TASKS, Digits

pytestmark = pytest.mark.usefixtures("annotations_unchecked", "known_measure")

CENTRES = torch.tensor([[4.0, 0.0], [-4.0, 0.0]])


@pytest.fixture
def known_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.METRICS, "off", catalogue.Metric("off", "distance to the centre", "lower"))


@dataclass(frozen=True)
class Good(Task):
    """Points about two centres, in units of a quarter, right in every respect; each test breaks one."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def conditions(self) -> dict[str, Any]:
        return {"label": Label(2)}

    def dataset(self, split: str) -> Any:
        labels = torch.arange(300 if split == "train" else 60) % 2
        noise = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(len(labels)))
        return ArrayDataset(CENTRES[labels] + 0.4 * noise, {"label": labels})

    def encode(self, raw: Tensor) -> Tensor:
        return raw / 4

    def decode(self, x: Tensor) -> np.ndarray:
        return (x.float() * 4).cpu().numpy()

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        near = np.linalg.norm(samples[:, None] - CENTRES.numpy(), axis=2).min(1)
        return {"off": float(near.mean())}

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        return Image.new("RGB", (8, 8))


def changed(**members: Any) -> Task:
    """The good task with other members."""
    return dataclass(frozen=True)(type("Broken", (Good,), members))()


def with_batch(change: Callable[[Batch, list[int]], Any]) -> Task:
    """The good task whose batches are a function of the good ones and their rows."""

    class Changed(ArrayDataset):
        def __getitems__(self, indices: list[int]) -> Any:
            return change(super().__getitems__(indices), indices)

    def dataset(self: Good, split: str) -> Any:
        found = Good().dataset(split)
        return Changed(found.data, found.cond)

    return changed(dataset=dataset)


def test_good_tasks_pass_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_task(Good()) is None
        check_task(Digits())


SILENT = {"evaluate": lambda self, samples, labels: {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch, rows: batch.data, "returns float32 .*: return shortcut_models.Batch"),
        (lambda batch, rows: Batch(batch.data.numpy(), batch.cond), "has data as a NumPy array float32 .*: return"),
        (lambda batch, rows: Batch(batch.data.tolist(), batch.cond), "has data as list .*: return tensors"),
        (lambda batch, rows: Batch(batch.data, {"label": [0] * len(rows)}), "has label as list .*: return tensors"),
        (lambda batch, rows: Batch(batch.data[:1], batch.cond), r"has data as float32 \[1, 2\]: return \d+ rows"),
        (lambda batch, rows: Batch(batch.data + torch.rand(()), batch.cond), "another value the second time: let a"),
        (lambda batch, rows: Batch(batch.data + rows.index(min(rows)), batch.cond), "another value the second time"),
        (lambda batch, rows: Batch(batch.data, {}), r"the data set gives the conditions none, and the task names \['l"),
        (lambda batch, rows: Batch(batch.data, {"label": batch.cond["label"] + 1}),
         r"gives 'label' as int64 \[256\] from 1 to 2, not int64 \[256\] in \[0, 2\): the task says Label\(count=2\)"),
        (lambda batch, rows: Batch(batch.data, {"label": batch.cond["label"].float()}), r"gives 'label' as float32"),
        (lambda batch, rows: Batch(batch.data, {"label": batch.cond["label"][:, None]}), r"int64 \[256, 1\] from 0 to"),
        (lambda batch, rows: 1 / 0, r"dataset\('train'\).__getitems__\(\[0\]\) raises ZeroDivisionError"),
    ],
)  # fmt: skip
def test_wrong_batches(change: Callable[..., Any], message: str) -> None:
    with refusal(message):
        check_task(with_batch(change))


class Empty:
    def __len__(self) -> int:
        return 0

    def __getitems__(self, indices: list[int]) -> Any:
        raise IndexError


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"shape": [2]}, "shape is list .*: give a tuple"),
        ({"shape": ()}, "shape is tuple"),
        ({"conditions": ["label"]}, "conditions is list .*: give a dict"),
        ({"conditions": {"label": 10}}, "the condition 'label' is int 10: choose sm.Label, sm.Vector"),
        ({"conditions": {"label": Vector(3)}}, r"gives 'label' as int64 .*, not float32 \[256, 3\]"),
        ({"conditions": {"label": Frames(1, 3, 8, 8)}}, r"not float32 \[256, 1, 3, 8, 8\] in \[-1, 1\]"),
        ({"resolve": lambda self: None}, r"resolve\(\) returns None: return the task"),
        ({"dataset": lambda self, split: Empty()}, r"dataset\('train'\) is empty: hold out at least one"),
        ({"dataset": lambda self, split: [1, 2]}, r"dataset\('train'\) has no __getitems__: .*ArrayDataset"),
        ({"dataset": lambda self, split: {"train": 1}[split]}, "has no __len__"),
        ({"shape": (3,)}, r"encode\(float32 \[256, 2\]\) returns float32 \[256, 2\], not float32 \[256, 3\]"),
        ({"encode": lambda self, raw: raw.double()}, r"returns float64 \[256, 2\], not float32 \[256, 2\]"),
        ({"encode": lambda self, raw: raw.numpy()}, "encode.* returns a NumPy array"),
        ({"encode": lambda self, raw: raw.div_(4)}, "encode changes the raw examples in place"),
        ({"encode": lambda self, raw: raw.log()}, "encode.* returns numbers that are not finite"),
        ({"encode": lambda self, raw: raw / torch.ones(2, 2)[0] / 4}, "encode on another device .* div mixes"),
        ({"augment": lambda self, x: x[:1]}, r"augment\(x\) returns float32 \[1, 2\], not float32 \[256, 2\]"),
        ({"preprocess_cond": lambda self, cond, *, training=False: {}}, "gives 'label' as None, not int64"),
        ({"default_cond": lambda self, rows: {"label": torch.zeros(3)}}, r"default_cond, .* gives 'label' as float32"),
        ({"default_cond": lambda self, rows: {}}, "default_cond gives the conditions none"),
        ({"decode": lambda self, x: x}, r"decode\(.*\) returns float32 \[256, 2\]: return a NumPy array with 256 rows"),
        ({"decode": lambda self, x: x.numpy()}, "decode on another device than the CPU raises TypeError: can't"),
        ({"decode": lambda self, x: x.cpu().numpy()[:1]}, "returns a NumPy array .*: return a NumPy array with 256"),
        ({"decode": lambda self, x: x.cpu().numpy() * np.nan}, "decode.* returns numbers that are not finite"),
        ({"decode": lambda self, x: 0 * x.cpu().numpy()}, r"decode\(x\) returns the same for all examples"),
        ({"evaluate": lambda self, samples, labels: 0.5}, r"evaluate\(.*\) returns float 0.5: return a dict"),
        ({"evaluate": lambda self, samples, labels: {"off": np.float32(1)}}, "returns 'off': float32 .*"),
        ({"evaluate": lambda self, samples, labels: {"off": 1}}, "returns 'off': int 1"),
        ({"evaluate": lambda self, samples, labels: {"off": math.inf}}, "returns 'off': inf: return a finite number"),
        ({"evaluate": lambda self, samples, labels: {"off": float(torch.rand(()))}}, "other measures the second time"),
        ({"evaluate": lambda self, samples, labels: {"off": float(labels.min(initial=0) / 0)}}, "evaluate"),
        ({"primary_metric": "fid"}, "primary_metric 'fid' is not among the measures off: name one"),
        ({"draw": lambda self, samples, columns: samples}, r"draw\(.* float32 \[1, 2\], columns=4\) returns a NumPy"),
        ({"draw": lambda self, samples, columns: Image.fromarray(samples[4])}, "draw.* raises IndexError"),
    ],
)  # fmt: skip
def test_wrong_members(members: dict[str, Any], message: str) -> None:
    members = {name: property(lambda self, value=value: value) if name in ("shape", "conditions") else value
               for name, value in members.items()}  # fmt: skip
    with refusal(message), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_task(changed(**members))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"encode": lambda self, raw: raw * 100, "decode": lambda self, x: x.cpu().numpy() / 100},
         "encode returns numbers that deviate by 2.*, and the noise deviates by 1: scale them"),
        ({"decode": lambda self, x: x.cpu().numpy()}, r"decode\(encode\(raw\)\) has as many numbers as raw, and"),
        ({"evaluate": lambda self, samples, labels: {"new": 1.0}}, "which way 'new' is better is not known, so"),
        ({"evaluate": lambda self, samples, labels: {"off": float(1 / np.abs(samples).mean())}},
         "by 'off', of which lower is better, noise .* is better than real examples|deviate"),
        ({"dataset": lambda self, split: Good().dataset("train")},
         "300 of the first 300 held-out examples are among the first 300 to train on: hold out others"),
    ],
)  # fmt: skip
def test_what_is_doubtful(members: dict[str, Any], message: str) -> None:
    with pytest.warns(UserWarning, match=message) as found:
        check_task(changed(**members))
    assert found[0].filename == __file__


def test_a_module_that_follows_the_data_keeps_its_weights() -> None:
    """The simulated device would lose them."""
    layer = torch.nn.Linear(2, 2).requires_grad_(False)

    def encode(self: Task, raw: Tensor) -> Tensor:
        return raw / 4 + 0 * layer.to(raw.device)(raw)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_task(changed(encode=encode))
    assert layer.weight.device.type == "cpu"


def test_what_is_passed() -> None:
    for task, message in ((Good, "Good is not a Task: .*pass an instance"), ("digits", "str is not a Task")):
        with refusal(message):
            check_task(task)  # type: ignore[arg-type]

    class Loose(Good):
        __dataclass_params__ = None

    with refusal("Loose is not a frozen dataclass"):
        check_task(Loose())


def test_a_registered_task_is_rebuilt_from_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Kept(Good):
        radius: float = 2.0

    monkeypatch.setitem(TASKS, "kept", Kept)
    with pytest.warns(UserWarning, match="Kept cannot be sent to other processes: .*define its class in a module"):
        check_task(Kept())

    @dataclass(frozen=True)
    class Holding(Good):
        points: Any = (1, (2, np.float32(3)))

    monkeypatch.setitem(TASKS, "holding", Holding)
    with warnings.catch_warnings(), refusal(r"from_dict\(Holding, to_dict\(task\)\) .*give it fields of plain values"):
        warnings.simplefilter("ignore")
        check_task(Holding())
