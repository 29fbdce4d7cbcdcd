"""What several commands have in common."""

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import annotated_types as at
from tyro.conf import Positional, arg

from ..config import DERIVED, NonNegativeInt, PositiveInt
from ..errors import UserError
from ..text import quote
from .parser import Command, Part, parse

if TYPE_CHECKING:
    from ..models.model import Model

Runs = Positional[Annotated[Sequence[Path], arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)")]]
"""one or more runs: tyro takes none for the default, which `parser` refuses"""


@dataclass(frozen=True, kw_only=True)
class OnDevice(Command):
    """A command with a network."""

    device: str = "auto"
    """device of the network: auto, cpu, cuda, cuda:1, ...; auto is a CUDA GPU where there is one"""

    def torch_device(self) -> str:
        """Return the name of the device. Raises UserError where it is not available."""
        from ..system.machine import torch_device

        return str(torch_device(self.device))


@dataclass(frozen=True, kw_only=True)
class OfModel(OnDevice):
    """A command on one trained model."""

    run: Positional[Path]
    """run directory or model.safetensors file"""
    vae: str | None = None
    """folder or Hub name of the VAE (default: where it was for training)"""

    def model(self) -> "Model":
        """Return the model."""
        from ..models.loading import load
        from ..tasks import Latents

        model = load(self.run, device=self.torch_device())
        if isinstance(model.task, Latents):
            model.task = model.task.with_vae(self.vae)
        elif self.vae is not None:
            raise UserError(f"{self.run} does not have a VAE: leave --vae out")
        return model

    def generator(self) -> "Model":
        """Return a model to make samples with, which is not a policy."""
        from ..tasks import Imitation

        model = self.model()
        if isinstance(model.task, Imitation):
            from ..policies.environments import is_known

            name = quote(self.run)
            ways = f"evaluate it with `shortcut rollout {name}`, or watch it with `shortcut race {name}`"
            if not is_known(model.task.environment):
                ways = f"draw them with `shortcut plot-chunks {name}`, or judge it with `shortcut rollout {name}`"
            raise UserError(f"{self.run} is a policy, and its samples are actions: {ways}")
        return model


@dataclass(frozen=True, kw_only=True)
class Sampling(OfModel):
    """A command that makes samples."""

    steps: Sequence[int] | None = (1,)
    """numbers of sampling steps, 1 to the model's largest, which is 128 as a rule"""
    num: PositiveInt = 64
    """number of samples"""
    seed: NonNegativeInt = 0
    """seed of the noises"""
    guidance: Annotated[float, at.Ge(0)] = 1.0
    """weight of classifier-free guidance; 1 is none"""
    batch_size: PositiveInt = 250
    """number of samples made at once"""
    precision: Literal["fp32", "bf16"] = "fp32"  # sampler.PRECISIONS, but without importing torch
    """arithmetic of the network; bf16 is faster where the hardware multiplies it"""


def steps_of(steps: Sequence[int] | None, model: "Model") -> list[int]:
    """Return numbers of steps, each once; every power of two where there are none."""
    most = model.objective.max_steps
    chosen = dict.fromkeys(steps or [2**k for k in range(most.bit_length())])
    for each in chosen:
        if not 1 <= each <= most:
            raise UserError(f"--steps must be whole numbers from 1 to {most}, not {each}")
    return list(chosen)


def labels_of(words: Sequence[str] | None, num: int, model: "Model") -> list[int | str] | None:
    """Return the class of each of `num` samples, from words that name classes in turn; a number is that of a class."""
    if not words:
        return None
    if len(words) > num:
        raise UserError(f"--label names {len(words)} classes for {num}: name fewer, or make more")
    given = [int(each) if re.fullmatch(r"[+-]?\d+", each) else each for each in words]
    model.labels(len(given), given)
    for word, each in zip(words, given, strict=True):
        names = model.task.class_names
        if isinstance(each, int) and word in names and names.index(word) != each:
            warnings.warn(
                f"--label {word} is class number {each}, {names[each]}; the class named {word} is number "
                f"{names.index(word)}",
                stacklevel=2,
            )
    return [given[row % len(given)] for row in range(num)]


def check_out(path: Path | None, suffix: str) -> None:
    """Raise UserError, before any work, where a file, if there is one, cannot be written."""
    if path is None:
        return
    if path.suffix != suffix:
        what = (
            f"{path} is an ending without a name" if path.name == suffix else f"the name of {path} must end in {suffix}"
        )
        raise UserError(what + f": choose a name such as samples{suffix}" * (path.name == suffix))
    if path.is_dir():
        raise UserError(f"{path} is a folder: pass the name of a file")
    check_place(path)


def check_place(path: Path) -> None:
    """Raise UserError where the folder around a file or folder does not exist, or cannot be written to."""
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is not a folder: make it first, or choose another place for {path.name}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path.parent} cannot be written to: choose another place for {path.name}")


def check_video_out(path: Path) -> None:
    """Raise UserError, before any work, where a video cannot be written."""
    from ..drawing.video import check_video

    check_video(path)
    check_out(path, path.suffix)


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Command):
    """The options of `shortcut train images` that images are prepared with, as messages about images name them."""

    image_size: PositiveInt | None = None
    """side in pixels, as for the run (default: the images' own)"""
    channels: Literal[1, 3] | None = None
    """number of channels; 1 is grey, 3 is colour (default: that of the data)"""
    skip_damaged: bool = False
    """leave out images that cannot be read"""


@dataclass(frozen=True, kw_only=True)
class OfImages(Command):
    """A command on images that are prepared as for a run."""

    task: ImageOptions = field(default=ImageOptions(), metadata=DERIVED)

    @classmethod
    def read(cls, words: Sequence[str], prog: str, about: str) -> Command:
        """Return the command; see `Command.read`."""
        task = Part(ImageOptions(), "task", "task.")
        given, of_task = parse([Part(cls), task], words, prog, about)
        return Part(cls).build({**given, "task": task.build(of_task)})
