"""One's own data: any data set of torch, NumPy or Hugging Face, of any shape, with any conditions."""

import collections
import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Annotated, Any, ClassVar

import annotated_types as at
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..base import Batch, Cond, Condition, Frames, Label, Mask, Task, Vector, X
from ..config import DERIVED, PositiveInt
from ..data.demonstrations.preprocessing import tensor_of
from ..data.facts import EXAMINED, find_facts
from ..data.items import DATA, LABEL, ItemRows, Items
from ..errors import UserError
from ..metrics import sliced_wasserstein

MOST_HELD_OUT = 5000  # items held out at most, where the share is taken from the data itself
REFERENCE = 2048  # held-out items that samples are measured against, and that conditions are taken from
KEPT = "_items"
LARGEST = 1e38  # a float32, nearly


@dataclass(frozen=True)
class FromDataset(Task):
    """A data set of your own; task units are those of its items, [n, *shape].

    The data set is a `torch.utils.data.Dataset` with a length, a `TensorDataset`, a Hugging Face `Dataset`, a tensor,
    a NumPy array, or a tuple or dict of arrays. An item is the data alone; a pair of the data and a label (a whole
    number), a vector, or a dict of conditions; or a dict. A condition is

    - a whole number: a class label, `Label`. `sample(label=...)` sets the one named "label";
    - a number or a vector: `Vector`, brought to mean 0 and deviation 1;
    - images, [channels, height, width] or with an axis of time before: `Frames`, uint8 or floats in [-1, 1];
    - the one named "mask": which entries of the data exist, 1 or 0, for items that are padded to one shape; `Mask`.

    The items decide the shape, the conditions and the units: the network sees data of mean 0 and deviation 1, and
    samples are turned back. Whole numbers are rounded, and uint8 is kept within 0 to 255. In padding, samples have the
    mean.

    What the data decides is stored in checkpoints, and the data set is not: a model is loaded and sampled without it.
    """

    preview_grid: ClassVar[tuple[int, int]] = (64, 8)
    primary_metric: ClassVar[str] = "sliced_wasserstein"

    source: InitVar[Any] = None
    """the data set; none: a task that was loaded, without its data"""
    _: KW_ONLY
    test: InitVar[Any] = None
    """a data set that is held out; none: a share of the data set itself"""
    data_key: str = ""
    """entry of an item that is the data, where items are dicts; none: data, x, image or the only one"""
    condition_names: tuple[str, ...] = ()
    """conditions that are used; of tuples, the names of what follows the data; none: all"""
    classes: Annotated[int | None, at.Ge(1)] = None
    """number of classes of the condition label; none: found in the data"""
    standardise: bool = True
    """show the network data and vectors of mean 0 and deviation 1; otherwise as they are"""
    validation_fraction: Annotated[float, at.Gt(0), at.Lt(1)] = 0.1
    """share of the items held out, at most 5,000 of them, where no other data set is"""
    examined: PositiveInt = EXAMINED
    """items that conditions and units are found in, where not all are in memory; always the same random ones"""
    shape: tuple[int, ...] = field(default=(), metadata=DERIVED)
    """of the data of an item: filled in"""
    whole_numbers: str = field(default="", metadata=DERIVED)
    """kind of the data where it is whole numbers, uint8 or int64: filled in"""
    kinds: tuple[str, ...] = field(default=(), metadata=DERIVED)
    """kind of each condition: label, vector, frames or mask: filled in"""
    sizes: tuple[tuple[int, ...], ...] = field(default=(), metadata=DERIVED)
    """shape of each condition in an item: filled in"""
    counts: tuple[int, ...] = field(default=(), metadata=DERIVED)
    """number of classes of each condition; 0 for those that are not labels: filled in"""
    mean: Annotated[float, at.Ge(-LARGEST), at.Le(LARGEST)] = field(default=0.0, metadata=DERIVED)
    """what is taken off the data before it is divided by its deviation: filled in"""
    deviation: Annotated[float, at.Gt(0), at.Le(LARGEST)] = field(default=1.0, metadata=DERIVED)
    """as mean"""
    centres: tuple[tuple[float, ...], ...] = field(default=(), metadata=DERIVED)
    """of each condition, by number: seen = (raw - centre) / scale; empty for those that are not vectors: filled in"""
    scales: tuple[tuple[float, ...], ...] = field(default=(), metadata=DERIVED)
    """as centres"""
    class_names: tuple[str, ...] = field(default=(), metadata=DERIVED)
    """names of the classes, where the data set has them: filled in"""

    def __post_init__(self, source: Any, test: Any) -> None:
        super().__post_init__()
        if source is None:
            return
        kept = self._open(source, test)
        facts = find_facts(kept["train"], self.examined, self.classes, standardise=self.standardise)
        for name, value in facts._asdict().items():
            object.__setattr__(self, name, value)
        vars(self).update({"source": source, "test": test, KEPT: kept})
        self._check_held_out()

    def _open(self, source: Any, test: Any) -> dict[str, Items]:
        train = Items(source, self.data_key, self.condition_names)
        return {"train": train, "test": train if test is None else Items(test, self.data_key, self.condition_names)}

    def with_dataset(self, source: Any, test: Any = None) -> "FromDataset":
        """Return this very task, as of a loaded model, with a data set: its shape and units stay as they are."""
        found = copy.copy(self)
        vars(found).update({"source": source, "test": test, KEPT: self._open(source, test)})
        found._batch(found._kept["train"], [0])
        found._check_held_out()
        return found

    def _check_held_out(self) -> None:
        """Raise UserError where no item can be held out, or the first held-out item is not like those trained on."""
        train, test = self._kept["train"], self._kept["test"]
        if test is train and len(train) < 2:
            raise UserError("the dataset has one item: add others, as one is held out, or pass test=")
        self._batch(test, [0])

    @property
    def _kept(self) -> dict[str, Items]:
        if KEPT not in vars(self):
            raise UserError(
                "this FromDataset has no data: pass the data set, FromDataset(dataset), or to the task of a model that "
                "was loaded, model.task = model.task.with_dataset(dataset)"
            )
        return vars(self)[KEPT]

    def describe_data(self) -> str:
        if KEPT not in vars(self):
            return ""
        train, test = (len(self.dataset(split)) for split in ("train", "test"))
        each = zip(self.condition_names, self.kinds, strict=True)
        conditions = ", ".join(f"{name} ({kind})" for name, kind in each) or "no conditions"
        units = f"; mean {self.mean:.4g} and deviation {self.deviation:.4g} become 0 and 1" if self.standardise else ""
        return f"{train:,} examples of shape {list(self.shape)} and {test:,} held out, with {conditions}{units}"

    @property
    def conditions(self) -> dict[str, Condition]:
        each = zip(self.condition_names, self.kinds, self.sizes, self.counts, strict=True)
        return {name: _condition(kind, size, count) for name, kind, size, count in each} if self.kinds else {}

    def dataset(self, split: str) -> ItemRows:
        """Return the raw examples of a split; those held out are the same every time."""
        train, test = self._kept["train"], self._kept["test"]
        if test is not train:
            items = self._kept[split]
            return ItemRows(items, np.arange(len(items)), self._batch)
        held_out = min(MOST_HELD_OUT, max(1, round(self.validation_fraction * len(train))), len(train) - 1)
        order = np.random.default_rng(0).permutation(len(train))
        return ItemRows(train, np.sort(order[held_out:]) if split == "train" else order[:held_out], self._batch)

    def _batch(self, items: Items, rows: Sequence[int]) -> Batch:
        """Return items as raw data and conditions. Raise UserError, naming the item, for one unlike the first."""
        parts = items.tensors(rows, {DATA: self.shape, **dict(zip(self.condition_names, self.sizes, strict=True))})
        data = parts.pop(DATA)
        data = data if self.whole_numbers == "uint8" and data.dtype == torch.uint8 else data.float()
        cond: dict[str, Tensor] = {}
        for name, kind, count in zip(self.condition_names, self.kinds, self.counts, strict=True):
            value = parts[name]
            if kind == "label":
                wrong = (value < 0) | (value >= count) | (value != value.long())
                if wrong.any():
                    row = int(wrong.nonzero()[0])
                    advice = "pass classes=, their number" if name == LABEL else "pass a larger examined="
                    raise UserError(
                        f"item {rows[row]} has {name} {value[row].item()}, and those examined have 0 to {count - 1}: "
                        f"number the classes from 0, or {advice}"
                    )
                cond[name] = value.long()
            elif kind == "vector":
                cond[name] = value.float().reshape(len(value), -1)
            elif kind == "frames":
                cond[name] = value if value.ndim == 5 else value[:, None]
            else:
                cond[name] = value.float()
                data = data.float().masked_fill(value == 0, self.mean)
        return Batch(data, cond)

    def encode(self, raw: Tensor) -> X:
        return (raw.float() - self.mean) / self.deviation

    def decode(self, x: X) -> np.ndarray:
        """Return samples [n, *shape]: float32, or whole numbers where the data has them."""
        values = x.float() * self.deviation + self.mean
        if self.whole_numbers == "uint8":
            values = values.clamp(0, 255)
        if self.whole_numbers:
            values = values.round().to(getattr(torch, self.whole_numbers))
        return values.cpu().numpy()

    def preprocess_cond(self, cond: Cond, *, training: bool = False) -> Cond:
        found = {}
        for place, (name, kind) in enumerate(zip(self.condition_names, self.kinds, strict=True)):
            if name not in cond:
                raise UserError(f"the samples need {name!r}, which is not among {sorted(cond)}: add it to cond")
            value, found[name] = cond[name], cond[name]
            if kind == "vector" and self.centres[place]:
                centre, scale = (tensor_of(each[place], value.device) for each in (self.centres, self.scales))
                found[name] = (value.reshape(len(value), -1).float() - centre) / scale
            elif kind == "frames" and value.dtype == torch.uint8:
                found[name] = value.float() / 127.5 - 1
        return found

    @functools.cached_property
    def _held_out(self) -> Batch:
        """The first held-out examples."""
        data = self.dataset("test")
        return data.__getitems__(list(range(min(len(data), REFERENCE))))

    def _alike(self, labels: Sequence[int], turns: Sequence[int]) -> Tensor:
        """Return held-out rows, counted round: for each label, the one whose turn it is; any where none has it."""
        found = self._held_out
        places = torch.arange(len(found))
        rows = {label: places[found.cond["label"] == label] for label in set(labels) if label >= 0}
        rows = {label: some for label, some in rows.items() if len(some)}
        each = [(rows.get(label, places), turn) for label, turn in zip(labels, turns, strict=True)]
        return torch.stack([some[turn % len(some)] for some, turn in each])

    def default_cond(self, rows: Sequence[int], labels: Sequence[int] | None = None) -> Cond:
        """Return conditions for samples `rows`: those of held-out examples of the labels, or of classes in turn.

        Without the data, vectors are the mean, images grey, and nothing is padding.
        """
        label = self.conditions.get("label")
        count = label.count if isinstance(label, Label) else 0
        turns = [row // max(count, 1) for row in rows]
        labels = [row % count if count else -1 for row in rows] if labels is None or not count else [*labels]
        if KEPT in vars(self):
            found = dict(self._held_out[self._alike(labels, turns)].cond)
        else:
            each = zip(self.condition_names, self.kinds, self.sizes, self.centres, strict=True)
            found = {name: _neutral(len(rows), kind, size, centre) for name, kind, size, centre in each if self.kinds}
        return found | ({"label": torch.tensor(labels)} if count else {})

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the distance to held-out examples of the same labels.

        sliced_wasserstein: as `metrics.sliced_wasserstein`, in deviations of the data.
        """
        seen = collections.Counter[int]()
        turns = []
        for label in labels.tolist():
            turns.append(seen[label])
            seen[label] += 1
        real = self.decode(self.encode(self._held_out[self._alike(labels.tolist(), turns)].data))
        seen_as = lambda values: values.reshape(len(values), -1).astype(np.float64) / self.deviation
        return {"sliced_wasserstein": sliced_wasserstein(seen_as(samples), seen_as(real))}

    def to_pil(self, samples: np.ndarray) -> list[Image.Image]:
        """Return samples as pictures, also where the channels come first, as in items made of PIL pictures."""
        if samples.ndim == 4 and samples.shape[1] in (1, 3):
            samples = samples.transpose(0, 2, 3, 1)
        return super().to_pil(samples)


def _condition(kind: str, size: tuple[int, ...], count: int) -> Condition:
    """Return a condition by its kind and its shape in an item."""
    if kind == "label":
        return Label(count)
    if kind == "vector":
        return Vector(math.prod(size))
    if kind == "mask":
        return Mask(size)
    return Frames(*size) if len(size) == 4 else Frames(1, *size)


def _neutral(rows: int, kind: str, size: tuple[int, ...], centre: tuple[float, ...]) -> Tensor:
    """Return a condition that says nothing, as the data set would give it."""
    if kind == "vector":
        return torch.tensor(centre or (0.0,) * math.prod(size)).expand(rows, -1).clone()
    if kind == "frames":
        return torch.zeros(rows, *(size if len(size) == 4 else (1, *size)))
    return torch.ones(rows, *size) if kind == "mask" else torch.zeros(rows, dtype=torch.int64)
