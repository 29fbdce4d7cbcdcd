"""A trained model: a network, the objective that knows how to sample it, and the task that knows its units."""

import contextlib
import functools
import math
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import psutil
import torch

from ..base import Cond, Label, Network, Objective, Task, X
from ..batch import without_padding
from ..errors import UserError
from ..randomness import sample_noise
from ..system.defaults import torch_defaults

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass
class Model:
    """What `shortcut_models.load` returns: it makes samples."""

    network: Network
    objective: Objective
    task: Task
    step: int = 0  # training steps behind the weights
    recipe: str = ""  # name of the recipe it was trained by
    precision: Precision = "fp32"
    """arithmetic of the network while sampling: bf16 is faster where the hardware multiplies it. Weights, and what is
    on the way from noise to data, stay float32"""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def classes(self) -> int:
        """Number of class labels; 0 where the model has none."""
        label = self.task.conditions.get("label")
        return label.count if isinstance(label, Label) else 0

    def labels(self, num: int, label: int | Sequence[int] | None = None) -> np.ndarray:
        """Return the labels [num] of samples: one for all, one each, or all classes in turn; -1 stands for no label."""
        if not self.classes:
            if label is not None:
                raise UserError("this model was trained without labels: leave label out")
            return np.full(num, -1, np.int64)
        if label is None:
            return np.arange(num) % self.classes
        found = np.broadcast_to(np.asarray(label), (num,)) if np.ndim(label) == 0 else np.asarray(label)
        if found.shape != (num,):
            raise UserError(f"label must be one number or {num} of them, not {found.shape[0]}")
        if not np.issubdtype(found.dtype, np.integer) or found.min() < 0 or found.max() >= self.classes:
            raise UserError(f"label must be a whole number from 0 to {self.classes - 1}, not {label}")
        return found.astype(np.int64)

    def conditions(self, rows: Sequence[int], labels: np.ndarray | None = None) -> Cond:
        """Return the conditions of samples `rows` as the data set gives them; labels: none is the task's choice."""
        if self.classes and labels is not None:
            return {**self.task.default_cond(rows), "label": torch.as_tensor(labels)}
        return self.task.default_cond(rows)

    @torch_defaults()
    def sample_from(
        self, noise: X, steps: int, cond: Cond | None = None, guidance: float = 1.0, *, decode: bool = True
    ) -> Any:
        """Return what the network makes of noise [b, *shape] in `steps` passes.

        Args:
            noise: standard normal.
            steps: passes through the network, 1 to `objective.max_steps`.
            cond: the conditions of each row, as the data set gives them; none: those of samples 0, ..., b - 1.
            guidance: as for `sample`.
            decode: return samples in the task's own units; otherwise as the network sees data, on its device.

        Raises:
            UserError: the model does not have this number of steps or this precision, or samples are not finite.
        """
        if cond is None:
            cond = self.conditions(range(len(noise)))
        cond = self.task.preprocess_cond({name: value.to(self.device) for name, value in cond.items()})
        if not isinstance(steps, numbers.Integral):
            raise UserError(f"steps must be a whole number, not {steps}")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision must be {' or '.join(PRECISIONS)}, not {self.precision}")
        was_training = self.network.training
        self.network.eval()
        in_bfloat16 = self.precision == "bf16"  # only then: a device without bfloat16 does not even open the context
        with torch.autocast(self.device.type, torch.bfloat16) if in_bfloat16 else contextlib.nullcontext():
            x = self.objective.sample(self.network, noise.to(self.device), cond, int(steps), guidance=guidance)
        x = without_padding(x, cond)
        self.network.train(was_training)
        if not torch.isfinite(x).all():
            raise UserError("the samples are not finite: lower guidance, or use weights from before they diverged")
        return self.task.decode(x) if decode else x

    @torch_defaults()
    def sample(
        self,
        num: int,
        *,
        steps: int = 1,
        label: int | Sequence[int] | None = None,
        seed: int = 0,
        guidance: float = 1.0,
        batch_size: int = 250,
    ) -> np.ndarray:
        """Return samples [num, ...] in the task's own units.

        Sample i follows from (seed, i) and its label alone, whatever num and batch_size are.

        Args:
            num: how many, at least 1.
            steps: passes through the network, 1 to `objective.max_steps`; powers of two are trained for directly.
            label: one class for all, a sequence of num classes, or None for all classes in turn.
            seed: of the noise, at least 0.
            guidance: classifier-free guidance weight; 1 is none, 0 ignores the label.
            batch_size: samples made at once.

        Raises:
            UserError: a number out of its range.
        """
        self.check_request(num, seed, guidance, batch_size)
        batches = self.batches(num, seed, self.labels(num, label), batch_size)
        return np.concatenate([self.sample_from(noise, steps, cond, guidance) for noise, cond in batches])

    def batches(self, num: int, seed: int, labels: np.ndarray, batch_size: int) -> Iterator[tuple[X, Cond]]:
        """Yield the noises and the conditions of samples 0 to num - 1, a batch at a time."""
        for start in range(0, num, batch_size):
            rows = range(start, min(start + batch_size, num))
            yield sample_noise(seed, rows, self.task.shape), self.conditions(rows, labels[rows.start : rows.stop])

    @functools.cached_property
    @torch_defaults()
    def sample_size(self) -> int:
        """Bytes of one sample in the task's own units; latents become images of many times theirs."""
        return self.task.decode(torch.zeros(1, *self.task.shape, device=self.device)).nbytes

    def check_guidance(self, guidance: float) -> None:
        """Raise UserError for a weight below 0, or one that the model was not trained for."""
        if not (math.isfinite(guidance) and guidance >= 0):
            raise UserError(f"guidance must be a number of at least 0, not {guidance}")
        if guidance != 1 and not self.objective.label_dropout:
            raise UserError("guidance needs a model trained with label-dropout above 0: leave guidance out")

    def check_request(
        self, num: int, seed: int, guidance: float, batch_size: int, *, encoded: int = 0, decoded: int = 2
    ) -> None:
        """Raise UserError for a number out of its range, or for more samples than this machine's memory holds.

        encoded, decoded: how many times all samples are held at once, as the network's and as the task's arrays.
        """
        for name, value, least in (("num", num, 1), ("seed", seed, 0), ("batch-size", batch_size, 1)):
            if not isinstance(value, numbers.Integral) or value < least:
                raise UserError(f"{name} must be a whole number of at least {least}, not {value}")
        if guidance != 1 and not self.classes:
            raise UserError("guidance needs a model with labels, and this one does not have any: leave guidance out")
        self.check_guidance(guidance)
        memory = psutil.virtual_memory().total
        latent = 4 * math.prod(self.task.shape)
        needed = (encoded * num + 2 * min(batch_size, num)) * latent + decoded * num * self.sample_size
        if needed > memory:
            raise UserError(
                f"{num} samples need {needed / 2**30:.0f} GiB of memory, and there are {memory / 2**30:.0f}: "
                f"make fewer at a time, each time with another seed"
            )
