"""From a request to samples: noises, conditions, passes through the network, and the task's own units."""

import contextlib
import functools
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

import numpy as np
import psutil
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from ..base import Cond, Label, Network, Objective, Task, X
from ..batch import without_padding
from ..errors import UserError
from ..path import check_num_steps
from ..randomness import sample_noise
from ..system.defaults import torch_defaults
from ..system.evaluating import evaluating
from .conditioning import Labels, class_numbers, given_cond, prepared_cond

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
Output = Literal["numpy", "torch", "pil"]
OUTPUTS: tuple[str, ...] = get_args(Output)


@dataclass
class Sampler:
    """A trained network, with the objective that knows how to sample it and the task that knows its units.

    Its methods may be called from several threads at once: nothing random is shared, and nothing is left changed.
    """

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
        """The device of the network, and so of sampling."""
        return next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))

    @property
    def classes(self) -> int:
        """Number of class labels; 0 where the model has none."""
        label = self.task.conditions.get("label")
        return label.count if isinstance(label, Label) else 0

    def labels(self, num: int, label: Labels | None = None) -> np.ndarray:
        """Return the labels [num] of samples: one for all, one each, or all classes in turn; -1 stands for no label."""
        if not self.classes:
            if label is not None:
                raise UserError("this model was trained without labels: leave label out")
            return np.full(num, -1, np.int64)
        return np.arange(num) % self.classes if label is None else class_numbers(label, num, self.task, self.classes)

    def conditions(self, rows: Sequence[int], labels: np.ndarray | None = None) -> Cond:
        """Return the conditions of samples `rows` as the data set gives them; labels: none is the task's choice."""
        if not self.classes or labels is None:
            return self.task.default_cond(rows)
        others = self.task.default_cond(rows, labels.tolist()) if len(self.task.conditions) > 1 else {}
        return {**others, "label": torch.as_tensor(labels)}

    @overload
    def sample_from(
        self, noise: X, steps: int, cond: Cond | None = ..., guidance: float = ..., *, decode: Literal[True] = ...
    ) -> np.ndarray: ...

    @overload
    def sample_from(
        self, noise: X, steps: int, cond: Cond | None = ..., guidance: float = ..., *, decode: Literal[False]
    ) -> Tensor: ...

    @torch_defaults()
    def sample_from(
        self, noise: X, steps: int, cond: Cond | None = None, guidance: float = 1.0, *, decode: bool = True
    ) -> np.ndarray | Tensor:
        """Return what the network makes of noise [b, *shape] in `steps` passes.

        Args:
            noise: standard normal.
            steps: passes through the network, 1 to `objective.max_steps`.
            cond: the conditions of each row, as the data set gives them; none: those of samples 0, ..., b - 1.
            guidance: as for `sample`.
            decode: return samples in the task's own units; otherwise as the network sees data, on its device.

        Raises:
            UserError: the model does not have this number of steps or this precision, conditions do not fit, or
                samples are not finite.
        """
        with self._sampling(noise, steps, cond) as (start, prepared):
            x = self.objective.sample(self.network, start, prepared, int(steps), guidance=guidance)
        return self._decoded(without_padding(x, prepared), decode)

    @torch_defaults()
    def trajectory_from(
        self, noise: X, steps: int, cond: Cond | None = None, guidance: float = 1.0
    ) -> list[Shaped[Tensor, "b ..."]]:
        """Return noise [b, *shape] and every x after it, as the network sees data; see `sample_from`."""
        with self._sampling(noise, steps, cond) as (start, prepared):
            points = self.objective.trajectory(self.network, start, prepared, int(steps), guidance=guidance)
            return [without_padding(x, prepared) for x in (start, *points)]

    @contextlib.contextmanager
    def _sampling(self, noise: X, steps: int, cond: Cond | None) -> Iterator[tuple[X, Cond]]:
        """Hold the network in evaluation mode and in the model's precision; yield noise and conditions for it."""
        if not isinstance(steps, numbers.Integral):
            raise UserError(f"steps must be a whole number, not {steps}")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision must be {' or '.join(PRECISIONS)}, not {self.precision}")
        given = self.conditions(range(len(noise))) if cond is None else cond
        prepared = prepared_cond(self.task, given, len(noise), self.device)
        in_bfloat16 = self.precision == "bf16"  # only then: a device without bfloat16 does not even open the context
        with (
            evaluating(self.network),
            torch.autocast(self.device.type, torch.bfloat16) if in_bfloat16 else contextlib.nullcontext(),
        ):
            yield noise.to(self.device), prepared

    def _decoded(self, x: X, decode: bool = True) -> np.ndarray | Tensor:
        if not torch.isfinite(x).all():
            raise UserError("the samples are not finite: lower guidance, or use weights from before they diverged")
        return self.task.decode(x) if decode else x

    @overload
    def sample(
        self, num: int, *, steps: int = ..., label: Labels | None = ..., cond: Mapping[str, Any] | None = ...,
        seed: int = ..., guidance: float = ..., batch_size: int = ..., output: Literal["numpy"] = ...,
    ) -> np.ndarray: ...  # fmt: skip

    @overload
    def sample(
        self, num: int, *, steps: int = ..., label: Labels | None = ..., cond: Mapping[str, Any] | None = ...,
        seed: int = ..., guidance: float = ..., batch_size: int = ..., output: Literal["torch"],
    ) -> Tensor: ...  # fmt: skip

    @overload
    def sample(
        self, num: int, *, steps: int = ..., label: Labels | None = ..., cond: Mapping[str, Any] | None = ...,
        seed: int = ..., guidance: float = ..., batch_size: int = ..., output: Literal["pil"],
    ) -> list[Image.Image]: ...  # fmt: skip

    @torch_defaults()
    def sample(
        self, num: int, *, steps: int = 1, label: Labels | None = None, cond: Mapping[str, Any] | None = None,
        seed: int = 0, guidance: float = 1.0, batch_size: int = 250, output: Output = "numpy",
    ) -> np.ndarray | Tensor | list[Image.Image]:  # fmt: skip
        """Return samples [num, ...] in the task's own units.

        Sample i follows from (seed, i) and its conditions alone, whatever num and batch_size are.

        Args:
            num: how many, at least 1.
            steps: passes through the network, 1 to `objective.max_steps`; powers of two are trained for directly.
            label: a class, by its number or its name in `task.class_names`, for all; a sequence of num classes; or None
                for all classes in turn.
            cond: the other conditions by name, as the data set gives them: arrays or tensors [num, ...], or [1, ...]
                for all samples. It may hold "label" in place of the argument. None: the task's own choice.
            seed: of the noise, at least 0.
            guidance: classifier-free guidance weight; 1 is none, 0 ignores the conditions.
            batch_size: samples made at once.
            output: "numpy" for an array, "torch" for a tensor of the same numbers on the model's device, "pil" for a
                list of pictures, where samples are pictures.

        Raises:
            UserError: a number out of its range, an unknown class, conditions that do not fit, or "pil" where samples
                are not pictures.
        """
        if output not in OUTPUTS:
            raise UserError(f"output must be {', '.join(OUTPUTS[:-1])} or {OUTPUTS[-1]}, not {output!r}")
        if output == "pil":
            self.check_pictures()
        self.check_request(num, seed, guidance, batch_size)
        labels, others = self.resolve(num, label, cond)
        batches = self.batches(num, seed, labels, batch_size, others)
        made = np.concatenate([self.sample_from(noise, steps, some, guidance) for noise, some in batches])
        if output == "torch":
            return torch.from_numpy(made).to(self.device)
        return self.task.to_pil(made) if output == "pil" else made

    def batches(
        self, num: int, seed: int, labels: np.ndarray, batch_size: int, others: Cond | None = None
    ) -> Iterator[tuple[X, Cond]]:
        """Yield the noises and the conditions of samples 0 to num - 1, a batch at a time; others: as of `resolve`."""
        for start in range(0, num, batch_size):
            rows = range(start, min(start + batch_size, num))
            part = slice(rows.start, rows.stop)
            some = None if others is None else {name: value[part] for name, value in others.items()}
            yield sample_noise(seed, rows, self.task.shape), some or self.conditions(rows, labels[part])

    def resolve(self, num: int, label: Labels | None, cond: Mapping[str, Any] | None) -> tuple[np.ndarray, Cond | None]:
        """Return the labels [num] and, where `cond` is given, all conditions [num, ...] of samples; see `sample`."""
        if cond is None:
            return self.labels(num, label), None
        if not isinstance(cond, Mapping):
            raise UserError(f"cond must be a dict of arrays by name, not {type(cond).__name__}")
        others = dict(cond)
        if self.classes and "label" in others:
            if label is not None:
                raise UserError("label and cond['label'] are both given: leave one out")
            given: Any = others.pop("label")
            one = not isinstance(given, str) and np.shape(given) == (1,)  # a row for all
            label = next(iter(given)) if one else given
        labels, found = self.labels(num, label), given_cond(self.task, num, others)
        return labels, found | ({"label": torch.as_tensor(labels)} if self.classes else {})

    @functools.cached_property
    @torch_defaults()
    def sample_size(self) -> int:
        """Bytes of one sample in the task's own units; latents become images of many times theirs."""
        return self._example.nbytes

    @property
    def _example(self) -> np.ndarray:
        return self.task.decode(torch.zeros(1, *self.task.shape, device=self.device))

    def check_pictures(self) -> None:
        """Raise UserError where samples are not pictures."""
        self.task.to_pil(self._example)

    def check_steps(self, steps: int) -> None:
        """Raise UserError for a number of steps that the model does not have."""
        if not isinstance(steps, numbers.Integral):
            raise UserError(f"steps must be a whole number, not {steps}")
        check_num_steps(int(steps), self.objective.max_steps)

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
        if guidance != 1 and not self.task.conditions:
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
