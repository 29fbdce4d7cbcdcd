"""Imitation learning: the next actions, given what was seen lately."""

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import annotated_types as at
import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from ..base import Batch, Cond, Condition, Frames, Task, Vector, X
from ..config import DERIVED, PositiveInt
from ..data.demonstrations import ACCEPTED, Demonstrations, read
from ..data.demonstrations.preprocessing import Normalisation, as_numbers, cropped, fit_normalization, parse, tensor_of
from ..data.demonstrations.summary import draw_episode, summarize
from ..data.demonstrations.windows import Windows, as_conditions
from ..errors import UserError


@dataclass(frozen=True)
class Imitation(Task):
    """Chunks of actions [chunk, action] under the last observations; task units are those of the actions.

    The data is anything that `demonstrations.read` takes. What it decides is filled in by `resolve`: from then on the
    task needs no data to act, and looks at it again only in `dataset`, `default_cond`, `evaluate` and `draw`.

    Images are conditions `Frames(history, C, H, W)`, raw uint8 and seen in [-1, 1], cropped; vectors are conditions
    `Vector(history * size)`, raw and seen float32, oldest first.
    """

    preview_grid: ClassVar[tuple[int, int]] = (8, 4)
    primary_metric: ClassVar[str] = "action_error"
    data_help: ClassVar[str] = ACCEPTED

    data: str | None = None
    """demonstrations: what `shortcut collect` wrote, a zarr replay buffer, HDF5 of robomimic, or a LeRobot data set; or
    several of these, separated by commas"""
    environment: str = ""
    """name of the environment; filled in where the data says it"""
    observations: tuple[str, ...] = ()
    """what the policy sees, in order; a vector may be cut, as in state[:2]; none: all that the data has"""
    history: PositiveInt = 2
    """observations that the policy looks back on, the current one with them"""
    chunk: PositiveInt = 8
    """actions that are predicted at once, from the current frame on"""
    execute: PositiveInt = 4
    """actions of a chunk that are carried out before the next one is predicted; at most chunk"""
    normalisation: Normalisation = "min-max"
    """of actions and vectors: every number to [-1, 1] over the training episodes, or to mean 0 and deviation 1"""
    crop: Annotated[int | None, at.Ge(1)] = None
    """side of the square that is seen of every image: anywhere while training, the middle otherwise; none: all"""
    jitter: Annotated[float, at.Ge(0), at.Le(1)] = 0.0
    """deviation of the Gaussian noise on every number of the vectors that are seen while training, once normalised"""
    validation_fraction: Annotated[float, at.Gt(0), at.Lt(1)] = 0.1
    """of the episodes, held out; at least one is, and data that holds some out by itself is left as it is"""
    shapes: tuple[tuple[int, ...], ...] = field(default=(), metadata=DERIVED)
    """of each observation: (channels, height, width) or (size,): filled in"""
    centres: tuple[tuple[float, ...], ...] = field(default=(), metadata=DERIVED)
    """of each observation, by number: seen = (raw - centre) / scale; empty for images: filled in"""
    scales: tuple[tuple[float, ...], ...] = field(default=(), metadata=DERIVED)
    """as centres"""
    action_centre: tuple[float, ...] = field(default=(), metadata=DERIVED)
    """what is taken off each number of an action before it is divided by its scale: filled in"""
    action_scale: tuple[float, ...] = field(default=(), metadata=DERIVED)
    """as action_centre"""
    action_low: tuple[float, ...] = field(default=(), metadata=DERIVED)
    """least of each number of an action in the training episodes; no action goes below: filled in"""
    action_high: tuple[float, ...] = field(default=(), metadata=DERIVED)
    """most of each number of an action in the training episodes; no action goes above: filled in"""
    seeds: tuple[int, ...] = field(default=(), metadata=DERIVED)
    """of all episodes, where they are known: nothing is judged on these worlds: filled in"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.execute > self.chunk:
            raise UserError(f"execute must be at most chunk ({self.chunk}), not {self.execute}")
        if len(set(self.names)) < len(self.observations):
            raise UserError(f"observations must each be named once, not {', '.join(self.observations)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The observations by their names alone: what an environment is to show."""
        return tuple(parse(text)[0] for text in self.observations)

    def resolve(self) -> "Imitation":
        """Return the task with the shapes, statistics, bounds and seeds of its data; the path stays as it was given.

        Statistics are of the training episodes alone. The demonstrations stay with the task that is returned.
        """
        if self.data is None:
            raise UserError(f"imitation needs demonstrations: pass --data with {ACCEPTED}")
        if self.action_scale and "_demonstrations" in vars(self):
            return self
        found = dataclasses.replace(self)._demonstrations  # a task that is resolved again reads again
        named = self if self.observations else dataclasses.replace(self, observations=tuple(found.observations))
        if self.environment and found.environment not in ("", self.environment):
            raise UserError(f"{self.data} is of {found.environment}, not of {self.environment}: choose others")
        train, held_out = self.split(found)
        trained_on = np.repeat(np.isin(np.arange(len(found)), train), found.ends - found.begins)
        if few := len(found) - len(train) - len(held_out):
            few_of = f"{few} of {len(found)} episodes in {self.data}"
            warnings.warn(f"{few_of} have fewer than {self._least} frames, and are left out", stacklevel=2)
        actions, arrays = found.actions[trained_on], list(found.observations.values())
        fit = lambda array: ((), ()) if array.ndim == 4 else fit_normalization(array[trained_on], self.normalisation)
        fits, (centre, scale) = [fit(array) for array in arrays], fit(found.actions)
        resolved = dataclasses.replace(
            named, environment=self.environment or found.environment,
            shapes=tuple(_shape(array) for array in arrays),
            centres=tuple(centre for centre, _ in fits), scales=tuple(scale for _, scale in fits),
            action_centre=centre, action_scale=scale,
            action_low=as_numbers(actions.min(0)), action_high=as_numbers(actions.max(0)),
            seeds=() if found.seeds is None else tuple(found.seeds.tolist()),
        )  # fmt: skip
        for name, shape in zip(resolved.names, resolved.shapes, strict=True):
            if len(shape) == 3 and self.crop is not None and self.crop > min(shape[1:]):
                raise UserError(f"crop must be at most {min(shape[1:])}, the shorter side of {name}, not {self.crop}")
        vars(resolved)["_demonstrations"] = found
        return resolved

    @functools.cached_property
    def _demonstrations(self) -> Demonstrations:
        """Read the observations that are seen, vectors cut, and the actions."""
        found = read(str(self.data), self.names)
        cuts = {name: cut for name, cut in map(parse, self.observations) if cut is not None}
        arrays = dict(found.observations)
        for name, cut in cuts.items():
            if arrays[name].ndim == 4:
                raise UserError(f"{name} is an image, and only vectors can be cut: see a square of it with --task.crop")
            arrays[name] = np.ascontiguousarray(arrays[name][:, cut])
            if not arrays[name].size:
                size = found.observations[name].shape[1]
                raise UserError(f"nothing is left of {name}, which has {size} numbers: cut it otherwise")
        if not arrays:
            raise UserError(f"{self.data} holds no observations: record what was seen, too")
        return dataclasses.replace(found, observations=arrays)

    def split(self, found: Demonstrations) -> tuple[list[int], list[int]]:
        """Return the numbers of the training and of the held-out episodes of `found`, the task's data.

        Raises:
            UserError: no episode is left for one of them.
        """
        if len(found) < 2:
            raise UserError(f"{self.data} holds one episode: at least two are needed, as one is held out")
        train, held_out = found.split(self.validation_fraction, self._least)
        if not train or not held_out:
            usable = len(train) + len(held_out)
            marked = "" if found.held_out is None else f", {len(held_out)} of them held out by the data itself"
            ways = "pass a smaller --task.chunk, or longer episodes"
            if found.held_out is not None:
                ways = f"{ways}, or let the data hold out others"
            raise UserError(
                f"{usable} of {len(found)} episodes in {self.data} have {self._least} frames or more{marked}; one to "
                f"train on and one to hold out are needed: {ways}"
            )
        return train, held_out

    @property
    def _least(self) -> int:
        """The frames of the shortest episode that has a window."""
        return self.chunk - self.execute + 1

    def describe_data(self) -> str:
        found = self._demonstrations
        return f"{self.data}: {summarize(found, *self.split(found), self._least)}"

    def draw_data(self) -> Image.Image:
        """Draw the first episode: the frames of each camera in the course of time, and curves of all numbers."""
        return draw_episode(self._demonstrations)

    def _windows_of(self, found: Demonstrations, episodes: Sequence[int]) -> Windows:
        return Windows(found, self.history, self.chunk, self.execute, episodes)

    @property
    def shape(self) -> tuple[int, ...]:
        if not self.action_scale:
            raise UserError("the size of the actions is not known yet: use the task that resolve() returns")
        return (self.chunk, len(self.action_scale))

    @property
    def conditions(self) -> dict[str, Condition]:
        found: dict[str, Condition] = {}
        for name, shape in zip(self.names, self.shapes, strict=False):  # nothing is known before `resolve`
            if len(shape) == 3:
                channels, height, width = shape[0], *((self.crop, self.crop) if self.crop else shape[1:])
                found[name] = Frames(self.history, channels, height, width)
            else:
                found[name] = Vector(self.history * shape[0])
        return found

    def dataset(self, split: str) -> Windows:
        """Return windows of the training episodes, or of those that are held out, these shuffled."""
        found = self._demonstrations
        shapes = tuple(_shape(array) for array in found.observations.values())
        if (shapes, found.actions.shape[1:]) != (self.shapes, self.shape[1:]):
            raise UserError(f"{self.data} is not what this task was resolved with: use the same demonstrations")
        train, held_out = self.split(found)
        if split == "train":
            return self._windows_of(found, train)
        return self._windows_of(found, held_out).shuffled(np.random.default_rng(0))

    @functools.cached_property
    def _held_out(self) -> Windows:
        return self.dataset("test")

    def _windows(self, rows: Sequence[int]) -> Batch:
        """Return held-out windows, counted round."""
        return self._held_out.__getitems__([int(row) % len(self._held_out) for row in rows])

    def encode(self, raw: Float[Tensor, "b chunk action"]) -> X:
        centre, scale = (tensor_of(numbers, raw.device) for numbers in (self.action_centre, self.action_scale))
        return (raw - centre) / scale

    def decode(self, x: X) -> np.ndarray:
        """Return actions, float32 [n, chunk, action], within the bounds of those that were shown."""
        numbers = (self.action_centre, self.action_scale, self.action_low, self.action_high)
        centre, scale, low, high = (tensor_of(values, x.device) for values in numbers)
        return (x.float() * scale + centre).clamp(low, high).cpu().numpy()

    def raw_conditions(self, seen: Mapping[str, np.ndarray]) -> Cond:
        """Turn what was seen lately, by name, oldest first, into conditions as the data set gives them.

        Images are uint8 [n, history, height, width, channels], vectors [n, history, size], whole as they are shown.
        """
        found = {}
        for text, shape in zip(self.observations, self.shapes, strict=True):
            name, cut = parse(text)
            if name not in seen:
                raise UserError(f"the policy sees {name}, which is not among {', '.join(seen) or 'no observations'}")
            array = np.asarray(seen[name])
            if len(shape) == 1:
                array = (array if cut is None else array[..., cut]).astype(np.float32)
            wanted = (self.history, *shape) if len(shape) == 1 else (self.history, *shape[1:], shape[0])
            if array.shape[1:] != wanted or (len(shape) == 3 and array.dtype != np.uint8):
                raise UserError(
                    f"{name} is {array.dtype} {list(array.shape[1:])} for each, and must be as in the demonstrations: "
                    f"{'uint8' if len(shape) == 3 else 'numbers'} {list(wanted)}"
                )
            found[name] = array
        return as_conditions(found)

    def preprocess_cond(self, cond: Cond, *, training: bool = False) -> Cond:
        found = {}
        for name, shape, centre, scale in zip(self.names, self.shapes, self.centres, self.scales, strict=True):
            raw = cond[name]
            if len(shape) == 3:
                image = raw if self.crop is None else cropped(raw, self.crop, at_random=training)
                found[name] = image.float().div_(127.5).sub_(1)
            else:
                frames = raw.reshape(len(raw), self.history, -1)
                seen = ((frames - tensor_of(centre, raw.device)) / tensor_of(scale, raw.device)).flatten(1)
                found[name] = seen + self.jitter * torch.randn_like(seen) if training and self.jitter else seen
        return found

    def default_cond(self, rows: Sequence[int], labels: Sequence[int] | None = None) -> Cond:
        return self._windows(rows).cond

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return root mean square errors of the actions against those of the held-out windows of `default_cond`.

        action_error: of the actions that would be carried out, as the network sees them; first_action_error: of the
        first one alone; ..._in_units: the same in the actions' own units.
        """
        error = samples - self._windows(range(len(samples))).data.numpy()
        parts = {"action_error": error[:, : self.execute], "first_action_error": error[:, :1]}
        scaled = {name: part / np.array(self.action_scale, np.float32) for name, part in parts.items()}
        named = {**scaled, **{f"{name}_in_units": part for name, part in parts.items()}}
        return {name: float(np.sqrt(np.square(part, dtype=np.float64).mean())) for name, part in named.items()}

    def evaluate_real(self, num: int) -> dict[str, float]:
        """Return nothing: how far two good demonstrators would be from one another is not known."""
        return {}

    def evaluate_chance(self, noise: X, labels: np.ndarray) -> dict[str, float]:
        """Return the errors of shown actions that ignore what is seen: those of random training windows."""
        train = self.dataset("train")
        rows = np.random.default_rng(0).integers(len(train), size=len(noise)).tolist()
        return self.evaluate(train.__getitems__(rows).data.numpy(), labels)

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        """Draw each chunk as curves over its frames, dashed as shown and solid as generated; see `plot_chunks`."""
        from ..drawing.curves import plot_chunks

        few = samples[: self.preview_grid[0]]
        shown = self._windows(range(len(few))).data
        return plot_chunks(self.encode(torch.from_numpy(few)).numpy(), self.encode(shown).numpy(), columns)


def _shape(array: Shaped[np.ndarray, "n ..."]) -> tuple[int, ...]:
    """Return (channels, height, width) of images, (size,) of vectors."""
    return (array.shape[3], *array.shape[1:3]) if array.ndim == 4 else array.shape[1:]
