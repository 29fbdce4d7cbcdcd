"""The whole protocol, on one screen: what a network, an objective and a task are to one another.

A shortcut model is one network that predicts the average velocity of a flow over the interval [t, t + d]
(Frans et al. 2024, arXiv 2410.12557, eq. 3)::

    x_{t+d} = x_t + d * network(x_t, t, d)          t = 0 is noise, t = 1 is data

Every method is a different way to make the target of that one network.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from PIL import Image
from torch import Tensor, nn

from .config import check

X = Float[Tensor, "b *event"]
"""Any point of the path, noise (t = 0) to data (t = 1): event is (2,), (C, H, W), (horizon, action), ..."""
T = Float[Tensor, "b"]
"""A time in [0, 1], or a step size in [0, 1], per example; float32."""
Cond = Mapping[str, Shaped[Tensor, "b ..."]]
"""Named conditions: {} or {"label": int64 [b]} or {"state": float32 [b, n], ...}."""


@dataclass(frozen=True)
class Label:
    """A class label, int64 [b] in [0, count)."""

    count: int


@dataclass(frozen=True)
class Vector:
    """A vector of features, float32 [b, size]."""

    size: int


@dataclass(frozen=True)
class Frames:
    """The last images of a camera, oldest first, float32 [b, history, channels, height, width] in [-1, 1]."""

    history: int
    channels: int
    height: int
    width: int


Condition = Label | Vector | Frames


@dataclass
class Batch:
    """Examples and their conditions, batch axis first."""

    data: Shaped[Tensor, "b *event"]
    cond: Cond = field(default_factory=dict)
    noise: X | None = None
    """the noise that each example was made from, where a model made them; data is encoded then"""
    progress: float = 0.0
    """share of the training steps that came before, in [0, 1]: some methods follow a schedule"""
    drop: Bool[Tensor, "b"] | None = None
    """which examples a model made without their condition, where it did so for any: these lose theirs in training"""

    def __len__(self) -> int:
        return len(self.data)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        cond = {name: change(value) for name, value in self.cond.items()}
        noise, drop = (None if value is None else change(value) for value in (self.noise, self.drop))
        return Batch(change(self.data), cond, noise, self.progress, drop)

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: Any) -> Batch:
        """The same batch on another device; asynchronous where its memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (the data loader calls this)."""
        return self._each(Tensor.pin_memory)


class Network(nn.Module, abc.ABC):
    """Average velocity of the flow over [t, t + d]. d = 0 asks for the instantaneous velocity."""

    @abc.abstractmethod
    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        """x [b, *event], t [b] and d [b] in [0, 1], context from `encode` -> velocity [b, *event]."""

    def encode(self, cond: Cond, drop: Bool[Tensor, "b"] | None = None) -> Any:
        """Conditions -> whatever `forward` wants. Run once per sample, not once per step.

        drop [b]: true where the example's conditions are to be replaced by the null condition.
        """
        return None

    def shard_units(self) -> Iterable[nn.Module]:
        """Submodules that `forward` calls one after another, for training that shards the network: its blocks.

        Each is gathered while it is called, so the largest decides how much memory that takes; none: all at once.
        """
        return ()


class NetworkConfig(abc.ABC):
    """A frozen dataclass that holds a network's sizes and builds it; the data decides the shapes."""

    def __post_init__(self) -> None:
        check(self)

    @abc.abstractmethod
    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> Network:
        """A new network for events of this shape. Raises UserError where the sizes do not fit."""


class Losses(NamedTuple):
    """What an objective returns for a batch."""

    per_example: T
    """The loss of each example [b]; the trainer takes one mean over all of them."""
    logs: dict[str, Tensor]
    """Named figures for the log, scalar or [b]; NaN entries are left out of the mean."""


class Objective(abc.ABC):
    """How targets are made, and how a network trained on them is sampled. A frozen dataclass."""

    uses_target_net: ClassVar[bool] = True
    """Whether the trainer keeps a target network, for `losses`, or for stages, where it becomes the next teacher."""
    requires: ClassVar[Literal["data", "teacher", "pairs"]] = "data"
    """What the method begins with. "teacher": a trained network, which `losses` gets as a fourth argument, `teacher`;
    "pairs": a trained model's samples in place of the data, each batch with its noise."""
    has_schedule: ClassVar[bool] = False
    """Whether the targets follow `Batch.progress`; where there are stages, they do. Such a training cannot be made
    longer, as its schedule would go back."""
    is_generative: ClassVar[bool] = True
    """Whether samples differ by their noise as the data does; where not, each follows from its conditions alone."""
    max_steps: int
    """The largest budget that `sample` takes."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def nfe_per_example(self) -> float:
        """Network evaluations that a training example costs: 1 for each pass, 3 for one with its backward pass."""
        return 3.0

    @property
    def stages(self) -> int:
        """Equal stages of training; at the end of each, what was learned becomes the teacher of the next."""
        return 1

    @abc.abstractmethod
    def losses(self, net: Network, target_net: Network, batch: Batch) -> Losses:
        """Draw noise and times, make targets with the target_net (an EMA of net), return each row's loss."""

    @abc.abstractmethod
    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        """Noise [b, *event] -> data in `steps` passes. Raises UserError where steps is not in 1..max_steps.

        guidance w: uncond + w (cond - uncond); 1 is conditional alone, 0 unconditional.
        """


@runtime_checkable
class Dataset(Protocol):
    """Raw examples, fetched a batch at a time."""

    def __len__(self) -> int: ...
    def __getitems__(self, indices: list[int]) -> Batch: ...


class Task(abc.ABC):
    """One dataset or family: shapes, conditions, codec, and how samples are judged. A frozen dataclass."""

    preview_grid: ClassVar[tuple[int, int]] = (16, 16)
    """how many samples a small picture holds, and in how many columns"""
    data_help: ClassVar[str] = ""
    """what its field `data` may name, in words, where it has one"""
    primary_metric: ClassVar[str] = ""
    """the measure of `evaluate` that methods are compared by first; "" is the first one"""

    def __post_init__(self) -> None:
        check(self)

    def resolve(self) -> Task:
        """Look at the data once and return this task with all that the data decides filled in."""
        return self

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The event shape of one encoded example."""

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """What a network can be conditioned on, by name."""
        return {}

    @abc.abstractmethod
    def dataset(self, split: str) -> Dataset:
        """The raw examples of split "train" or "test" (held out)."""

    @abc.abstractmethod
    def encode(self, raw: Shaped[Tensor, "b ..."]) -> X:
        """Raw examples, as the dataset gives them -> what the network sees."""

    @abc.abstractmethod
    def decode(self, x: X) -> np.ndarray:
        """What the network makes -> the task's own units."""

    def augment(self, x: X) -> X:
        """Vary encoded training examples at random (torch's global generator)."""
        return x

    def preprocess_cond(self, cond: Cond, *, training: bool = False) -> Cond:
        """Conditions, as the dataset gives them -> what the network is conditioned on.

        training: vary them at random (torch's global generator), where the task does that.
        """
        return cond

    def default_cond(self, rows: Sequence[int]) -> Cond:
        """The conditions, as the dataset gives them, of samples `rows` where none are asked for: classes in turn."""
        label = self.conditions.get("label")
        return {"label": torch.as_tensor(rows) % label.count} if isinstance(label, Label) else {}

    @abc.abstractmethod
    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Decoded samples [n, ...] and the labels asked for [n] (-1: none) -> named measures."""

    @abc.abstractmethod
    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        """Decoded samples as a picture, in rows of `columns` where the task has single pictures."""
