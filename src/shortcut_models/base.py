"""The whole protocol: what a network, an objective and a task are to one another.

A shortcut model is one network that predicts the average velocity of a flow over the interval [t, t + d]
(Frans et al. 2024, arXiv 2410.12557, eq. 3)::

    x_{t+d} = x_t + d * network(x_t, t, d)          t = 0 is noise, t = 1 is data

Every method is a different way to make the target of that one network.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from PIL import Image
from torch import Tensor, nn

from .batch import Batch, Cond, Condition, Frames, Label, Mask, PairBatch, T, Vector, X, check_batch
from .config import check
from .errors import UserError

__all__ = [
    "Batch", "Cond", "Condition", "Dataset", "Frames", "Label", "Losses", "Mask", "Network", "NetworkConfig",
    "Objective", "PairBatch", "Requires", "T", "Task", "Vector", "X",
]  # fmt: skip


Requires = Literal["data", "teacher", "pairs"]
"""What a method begins with."""


class Network(nn.Module, abc.ABC):
    """Average velocity of the flow over [t, t + d]. d = 0 asks for the instantaneous velocity."""

    @abc.abstractmethod
    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        """Return the velocity [b, *event] at x [b, *event], t [b] and d [b] in [0, 1]; context comes from `encode`."""

    def encode(self, cond: Cond, drop: Bool[Tensor, "b"] | None = None) -> Any:
        """Return what `forward` needs of the conditions. Runs once per sample, not once per step.

        drop [b]: true where the null condition replaces an example's conditions.
        """
        return None

    def shard_units(self) -> Iterable[nn.Module]:
        """Return the submodules that `forward` calls one after another (its blocks), for training that shards them.

        Each is gathered while it is called, so the largest decides how much memory that takes; none: all at once.
        """
        return ()


class NetworkConfig(abc.ABC):
    """A frozen dataclass that holds a network's sizes and builds it; the data decides the shapes."""

    def __post_init__(self) -> None:
        check(self)

    @abc.abstractmethod
    def build(self, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> Network:
        """Return a new network for events of this shape. Raise UserError where the sizes do not fit it."""


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
    requires: ClassVar[Requires] = "data"
    """What the method begins with. "teacher": a trained network, which `losses` gets as `teacher`; "pairs": a trained
    model's samples in place of the data, as `PairBatch`."""
    has_schedule: ClassVar[bool] = False
    """Whether the targets follow `progress`; where there are stages, they do. Made longer, such a training goes back on
    its schedule; with stages it is refused where that would be another stage."""
    is_generative: ClassVar[bool] = True
    """Whether samples differ by their noise as the data does; where not, each follows from its conditions alone."""
    learns_velocity: ClassVar[bool] = False
    """Whether the network gives the velocity at every time: then it can be the teacher of methods that require one."""
    shared_options: ClassVar[tuple[str, ...]] = ("max_steps", "label_dropout", "conditioned_step_size", "sigma_min")
    """Fields that mean the same in every method that has them, and are kept when one replaces another."""

    # What follows are the values of a method that does not have the option; one that does makes it a field.
    max_steps: int
    """The largest number of steps that `sample` takes."""
    label_dropout: float = 0.0
    """The share of rows trained without their condition; above 0, samples can be guided."""
    conditioned_step_size: float | None = None
    """The one step size that the network is always conditioned on; None where it is conditioned on the step taken."""
    guidance: float = 1.0
    """The guidance weight inside the targets; 1 is none."""
    pairs: int = 50_000
    """The number of the teacher's samples that a method learns from, if it requires "pairs"."""
    pair_steps: int = 128
    """The teacher's sampling steps for each of them."""
    pair_guidance: float = 1.0
    """The teacher's guidance weight for each of them; 1 is none."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "losses" in vars(cls):
            cls.losses = _with_checked_batch(cls.losses)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        check(self)
        if type(self).trajectory is Objective.trajectory and type(self).sample is Objective.sample:
            raise TypeError(f"{type(self).__name__} must define trajectory, or sample")

    @property
    def velocity_step_size(self) -> float | None:
        """The step size at which the network gives the velocity of the flow from noise to data; None: at none."""
        return self.conditioned_step_size if self.learns_velocity else None

    @property
    def nfe_per_example(self) -> float:
        """The network evaluations of a training example: 1 for each pass, 3 for one with its backward pass."""
        return 3.0

    @property
    def stages(self) -> int:
        """The number of equal stages of training; at the end of each, the network becomes the teacher of the next."""
        return 1

    def with_options(self, **options: Any) -> Objective:
        """Return the method with other options; those that are not fields of it are left out."""
        own = {each.name for each in fields(self) if each.init}  # type: ignore[arg-type]  # a frozen dataclass
        return replace(self, **{name: value for name, value in options.items() if name in own})  # type: ignore[type-var]

    @abc.abstractmethod
    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        """Draw noise and times, make targets, and return the loss of each row.

        Args:
            net: the network that learns.
            target_net: its average (EMA), which makes targets.
            batch: encoded examples; a `PairBatch` if the method requires "pairs".
            progress: the share of the training steps that came before, in [0, 1], for methods with a schedule.
            teacher: a trained network, if the method requires "teacher".
        """

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        """Yield x [b, *event] after every step from noise [b, *event] to data; no gradient is kept.

        guidance w: uncond + w (cond - uncond); 1 is conditional alone, 0 unconditional.

        Raises:
            UserError: steps is not in 1..max_steps, or the method defines `sample` alone.
        """
        raise UserError(
            f"{type(self).__name__} does not give the points on the way from noise to data: define its method "
            f"trajectory in place of sample"
        )

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        """Return the end of `trajectory`. A method may define this in its place, and then has ends only."""
        for x in self.trajectory(net, noise, cond, steps, guidance=guidance):
            end = x
        return end


def _with_checked_batch(losses: Callable[..., Losses]) -> Callable[..., Losses]:
    """Return `losses` of an objective with one line for a batch that no network could be trained on."""

    @functools.wraps(losses)
    def checked(self: Objective, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        check_batch(net, batch)
        return losses(self, net, target_net, batch, **context)

    return checked


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
    class_names: tuple[str, ...] = ()
    """the names of the classes of the condition "label", in the order of their numbers; () where they have none"""

    def __post_init__(self) -> None:
        check(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: what a task has read (its cached properties) is not copied or sent with it."""
        kept = lambda name: not isinstance(getattr(type(self), name, None), functools.cached_property)
        return {name: value for name, value in vars(self).items() if kept(name)}

    def resolve(self) -> Task:
        """Read the data once and return this task with all that the data decides filled in."""
        return self

    def describe_data(self) -> str:
        """Return what the data of a resolved task holds, in one line; "" where its name says that."""
        return ""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The event shape of one encoded example."""

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """The conditions that a network can have, by name."""
        return {}

    @abc.abstractmethod
    def dataset(self, split: str) -> Dataset:
        """Return the raw examples of split "train" or "test" (held out)."""

    @abc.abstractmethod
    def encode(self, raw: Shaped[Tensor, "b ..."]) -> X:
        """Turn raw examples, as the dataset gives them, into what the network sees."""

    @abc.abstractmethod
    def decode(self, x: X) -> np.ndarray:
        """Turn what the network makes into the task's own units."""

    def augment(self, x: X) -> X:
        """Vary encoded training examples at random (torch's global generator)."""
        return x

    def preprocess_cond(self, cond: Cond, *, training: bool = False) -> Cond:
        """Turn conditions, as the dataset gives them, into what the network is conditioned on.

        training: vary them at random (torch's global generator), where the task does that.
        """
        return cond

    def default_cond(self, rows: Sequence[int], labels: Sequence[int] | None = None) -> Cond:
        """Return conditions, as the dataset gives them, for samples `rows` of these labels; None: classes in turn."""
        label, each = self.conditions.get("label"), rows if labels is None else labels
        return {"label": torch.as_tensor(each) % label.count} if isinstance(label, Label) else {}

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return named measures of decoded samples [n, ...] and the labels asked for [n] (-1: none); {}: no measure."""
        return {}

    def evaluate_real(self, num: int) -> dict[str, float]:
        """Return what `evaluate` says of `num` real training examples in place of samples: what is attainable.

        A measure fitted on the training examples is that of held-out ones instead. {}: there is no such value.
        """
        data = self.dataset("train")
        batch = data.__getitems__(np.random.default_rng(0).permutation(len(data))[:num].tolist())
        labels = batch.cond["label"].numpy() if "label" in self.conditions else np.full(len(batch), -1)
        return self.evaluate(self.decode(self.encode(batch.data)), labels)

    def evaluate_chance(self, noise: X, labels: np.ndarray) -> dict[str, float]:
        """Return what `evaluate` says of noise in place of samples: a network that returns 0 leaves it as it is."""
        return self.evaluate(self.decode(noise), labels)

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        """Draw decoded samples as one picture, in rows of `columns` where the task has single pictures.

        By default: points [n, 2] of the plane, images [n, 1 or 3, height, width] or channels last, curves of signals
        [n, channels, length] or [n, length], or a table of the first numbers of anything else.
        """
        from .drawing.samples import draw_samples

        return draw_samples(samples, columns)

    def to_pil(self, samples: np.ndarray) -> list[Image.Image]:
        """Return decoded samples as pictures, pixel for pixel: uint8 [n, height, width] or [n, height, width, 1 or 3].

        Raises:
            UserError: samples of this task are something else.
        """
        if samples.dtype != np.uint8 or samples.ndim not in (3, 4) or samples.shape[3:] not in ((), (1,), (3,)):
            raise UserError(f"the samples of {type(self).__name__} are not pictures: use them as arrays")
        return [Image.fromarray(each[..., 0] if each.shape[2:] == (1,) else each) for each in samples]
