"""A trained model: a network, the objective that knows how to sample it, and the task that knows its units."""

from __future__ import annotations

import functools
import json
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from . import checkpoint
from .base import Cond, Label, Network, NetworkConfig, Objective, Task, X
from .config import from_dict, to_dict
from .errors import UserError
from .networks import NETWORKS
from .objectives import OBJECTIVES
from .randomness import sample_noise
from .runs import Run
from .tasks import TASKS, Imitation

CONFIG = "config.json"
LAYOUT = (CONFIG, checkpoint.MODEL)
"""the files of a folder in the Hub's layout"""


@dataclass
class Model:
    """What `shortcut_models.load` returns: it makes samples."""

    network: Network
    objective: Objective
    task: Task
    step: int = 0
    """training steps behind the weights"""
    recipe: str = ""
    """name of the recipe it was trained by"""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def classes(self) -> int:
        """Number of class labels; 0 where the model has none."""
        label = self.task.conditions.get("label")
        return label.count if isinstance(label, Label) else 0

    def labels(self, num: int, label: int | Sequence[int] | None = None) -> np.ndarray:
        """The labels [num] of samples: one for all, one each, or all classes in turn.

        -1 stands for no label, where the model has none. Raises UserError for labels that the model has not.
        """
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
        """The conditions of samples `rows`, as the data set gives them: those of these labels [len(rows)], where the
        model has any, or what the task makes samples under where nothing is asked for.
        """
        if self.classes and labels is not None:
            return {"label": torch.as_tensor(labels)}
        return self.task.prompts(rows)

    def flow(self, noise: X, steps: int, cond: Cond | None = None, guidance: float = 1.0) -> X:
        """Noise [b, *shape] -> what the network makes of it in `steps` passes, as it sees data, on its device.

        cond: of each row, as the data set gives it; none: that of samples 0, ..., b - 1.

        Raises UserError for a budget it has not, and for samples that are not finite.
        """
        if cond is None:
            cond = self.conditions(range(len(noise)))
        cond = self.task.observe({name: value.to(self.device) for name, value in cond.items()})
        if not isinstance(steps, numbers.Integral):
            raise UserError(f"steps must be a whole number, not {steps}")
        was_training = self.network.training
        self.network.eval()
        x = self.objective.sample(self.network, noise.to(self.device), cond, int(steps), guidance=guidance)
        self.network.train(was_training)
        if not torch.isfinite(x).all():
            raise UserError("the samples are not finite: lower guidance, or take weights from before they diverged")
        return x

    def generate(self, noise: X, steps: int, cond: Cond | None = None, guidance: float = 1.0) -> np.ndarray:
        """As `flow`, in the task's own units."""
        return self.task.decode(self.flow(noise, steps, cond, guidance))

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
        """Samples [num, ...] in the task's own units.

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
        labels = self.labels(num, label)
        parts = []
        for start in range(0, num, batch_size):
            rows = range(start, min(start + batch_size, num))
            noise = sample_noise(seed, rows, self.task.shape)
            cond = self.conditions(rows, labels[rows.start : rows.stop])
            parts.append(self.generate(noise, steps, cond, guidance))
        return np.concatenate(parts)

    @functools.cached_property
    def sample_size(self) -> int:
        """Bytes of one sample in the task's own units; latents become images of many times theirs."""
        return self.task.decode(torch.zeros(1, *self.task.shape, device=self.device)).nbytes

    def check_guidance(self, guidance: float) -> None:
        """Raise UserError for a weight that is none, or one that the model was not trained for."""
        if not (math.isfinite(guidance) and guidance >= 0):
            raise UserError(f"guidance must be a number of at least 0, not {guidance}")
        if guidance != 1 and getattr(self.objective, "label_dropout", None) == 0:
            raise UserError("guidance needs a model trained with label-dropout above 0: leave guidance out")

    def check_request(
        self, num: int, seed: int, guidance: float, batch_size: int, *, encoded: int = 0, decoded: int = 2
    ) -> None:
        """Raise UserError for a number out of its range, or for more samples than this machine's memory holds.

        encoded, decoded: how many times all samples are held at once, as the network makes them and in the task's own
        units; by default as parts and as a whole.
        """
        for name, value, least in (("num", num, 1), ("seed", seed, 0), ("batch-size", batch_size, 1)):
            if not isinstance(value, numbers.Integral) or value < least:
                raise UserError(f"{name} must be a whole number of at least {least}, not {value}")
        if guidance != 1 and not self.classes:
            raise UserError("guidance needs a model with labels, and this one has none: leave guidance out")
        self.check_guidance(guidance)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        latent = 4 * math.prod(self.task.shape)
        needed = (encoded * num + 2 * min(batch_size, num)) * latent + decoded * num * self.sample_size
        if needed > memory:
            raise UserError(
                f"{num} samples need {needed / 2**30:.0f} GiB of memory, and there are {memory / 2**30:.0f}: "
                f"make fewer at a time, each time with another seed"
            )


def model_of(network: Network, objective: Objective, task: Task, step: int = 0, recipe: str = "") -> Model:
    """These parts as a Model, or as a Policy where the task is to act."""
    from .policy import Policy

    kind = Policy if isinstance(task, Imitation) else Model
    return kind(network, objective, task, step, recipe)


def describe(part: Any, registry: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a model as JSON values: its registered name and its fields.

    A part from outside the package has the name None, and its class for the reader's sake: it cannot be rebuilt
    from the file (a class named in a file is never imported), and is passed to `load` instead.
    """
    name = next((name for name, cls in registry.items() if cls is type(part)), None)
    if name is None:
        return {"name": None, "class": f"{type(part).__module__}.{type(part).__qualname__}"}
    return {"name": name, **to_dict(part)}


def rebuild(kind: str, entry: dict[str, Any], registry: Mapping[str, Any], given: Any) -> Any:
    """The part that `describe` described, or the one given in its place."""
    if given is not None:
        return given
    name, fields = entry.get("name"), {key: value for key, value in entry.items() if key != "name"}
    if name is None:
        raise UserError(
            f"this model's {kind} is {entry.get('class')}, from outside the package: pass load(..., {kind}=...)"
        )
    if name not in registry:
        raise UserError(
            f"this model's {kind} {name!r} is unknown: use the script that defines it, pass load(..., {kind}=...), or "
            f"update shortcut-models"
        )
    return from_dict(registry[name], fields)


def read_layout(folder: Path) -> checkpoint.Content:
    """Weights and configuration of a folder in the Hub's layout. Raises UserError where it is damaged or foreign."""
    try:
        header = json.loads((folder / CONFIG).read_bytes())[checkpoint.HEADER]
        return safetensors.torch.load_file(folder / checkpoint.MODEL), dict(header)
    except (KeyError, TypeError):
        raise UserError(f"{folder / CONFIG} is of no model of shortcut-models: give another folder") from None
    except (ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder} is damaged ({error}): give another") from None


def assemble(
    weights: dict[str, Tensor],
    header: dict[str, Any],
    where: Path | str,
    *,
    device: str | torch.device = "cpu",
    network: Network | None = None,
    objective: Objective | None = None,
    task: Task | None = None,
) -> Model:
    """A model from its weights and the configuration that travels with them; see `load`.

    where: what messages call it.
    """
    try:
        task = rebuild("task", header["task"], TASKS, task)
        objective = rebuild("objective", header["objective"], OBJECTIVES, objective)
        if network is None:
            config: NetworkConfig = rebuild("network", header["network"], NETWORKS, None)
            network = config.build(task.shape, task.conditions)
        model = model_of(network, objective, task, int(header["step"]), str(header["recipe"]))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the configuration in {where} is not understood ({error!r}): give another file") from None
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {where} do not fit the network: {' '.join(str(error).split())[:200]}"
        ) from None
    network.to(device).eval()
    if isinstance(model.task, Imitation):
        # A decision is a batch of one, for which a CPU reads convolutions in this layout several times as fast.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # unknown to its stubs
    return model


def load(
    path: Path | str,
    *,
    device: str | torch.device = "cpu",
    network: Network | None = None,
    objective: Objective | None = None,
    task: Task | None = None,
) -> Model:
    """The model of a run directory (its newest checkpoint that is whole), of one `model.safetensors` file, or of a
    folder in the Hub's layout (see `hub.HubModel`). Where it learned from demonstrations, it is a `policy.Policy`.

    Args:
        path: a run directory, a file, or a folder of `config.json` and `model.safetensors`.
        device: where the network goes.
        network, objective, task: in place of those that the file names; needed where they are your own.

    Raises:
        UserError: no run, no checkpoint yet, a damaged or foreign file, or parts that do not fit the weights.
    """
    where, (weights, header) = find(Path(path))
    return assemble(weights, header, where, device=device, network=network, objective=objective, task=task)


def find(path: Path) -> tuple[Path, checkpoint.Content]:
    """The file that `load` takes at a path, or the folder in the Hub's layout, and what it holds; raises as `load`.

    Of a run it is the newest checkpoint's, and may be another one a moment later: who needs the same weights twice
    loads the second time from what is returned here.
    """
    if all((path / name).is_file() for name in LAYOUT):
        return path, read_layout(path)
    if path.is_dir():
        run = Run(path)
        run.read_config()
        found = checkpoint.newest(run.checkpoints, (checkpoint.MODEL,))
        if found is None:
            raise UserError(f"{path} has no checkpoint yet: train it with `shortcut train`")
        folder, [content] = found
        return folder / checkpoint.MODEL, content
    if not path.exists():
        raise UserError(f"{path} does not exist: give a run directory or a model file")
    content = checkpoint.read(path)
    if path.name == checkpoint.STATE:
        raise UserError(f"{path} is what a run goes on from, not its model: give {checkpoint.MODEL} beside it")
    return path, content
