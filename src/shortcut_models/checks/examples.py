"""What the checks call parts with: batches of any shape and conditions, and networks whose answers are known."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Batch, Cond, Condition, Frames, Label, Mask, Network, NetworkConfig, PairBatch, Task
from ..errors import UserError
from ..networks.wrapped import as_network
from .findings import describe, fail

Sizes = tuple[tuple[int, ...], Mapping[str, Condition]]


def sizes_of(
    task: Task | None,
    shape: tuple[int, ...] | None,
    conditions: Mapping[str, Condition] | None,
    default: Sizes | None = None,
) -> Sizes:
    """Return the shape and the conditions of a task, or those given in its place, or the default."""
    if task is not None and (shape is not None or conditions is not None):
        raise UserError("a task has a shape and conditions of its own: pass either task=, or shape= and conditions=")
    if task is not None:
        if not isinstance(task, Task):
            raise UserError(f"task must be a Task, not {type(task).__name__}: or pass shape= and conditions=")
        task = task.resolve()
        check_kinds(task.conditions)
        return task.shape, task.conditions
    if shape is None and conditions is None and default is not None:
        return default
    if shape is None:
        raise UserError("the shape of an example is not known: pass task=, or shape= such as (3, 32, 32)")
    check_kinds(conditions or {})
    return tuple(shape), dict(conditions or {})


def check_kinds(conditions: Any) -> None:
    """Raise UserError where conditions are not names of kinds, each with sizes of at least 1."""
    if not isinstance(conditions, Mapping):
        fail("conditions", f"is {describe(conditions)}", 'give a dict, such as {"label": Label(10)}')
    for name, kind in conditions.items():
        if not isinstance(kind, Condition):
            fail(f"the condition {name!r}", f"is {describe(kind)}", "choose sm.Label, sm.Vector, sm.Frames or sm.Mask")
        if min(kind.shape if isinstance(kind, Mask) else dataclasses.astuple(kind)) < 1:
            fail(f"the condition {name!r}", f"is {kind}", "give sizes of at least 1")


def other_values(kind: Condition, value: Tensor) -> Tensor:
    """Return a condition that differs from another in each row; the same where there is one class alone."""
    return (value + 1) % kind.count if isinstance(kind, Label) else kind.example(len(value)).to(value)


def batch_of(rows: int, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> Batch:
    """Return a batch of standard normal numbers with its conditions."""
    return Batch(torch.randn(rows, *shape), {name: kind.example(rows) for name, kind in conditions.items()})


def pairs_of(batch: Batch) -> PairBatch:
    """Return the batch as samples of a trained model with their noises; each third one was made without condition."""
    drop = torch.arange(len(batch), device=batch.data.device) % 3 == 2
    return PairBatch(batch.data, batch.cond, noise=torch.randn_like(batch.data), drop=drop)


def in_words(kind: Condition, rows: int) -> str:
    """Return what a condition must be, in words."""
    if isinstance(kind, Label):
        return f"int64 [{rows}] in [0, {kind.count})"
    return f"float32 {[rows, *kind.shape]}" + " in [-1, 1]" * isinstance(kind, Frames)


def fits(kind: Condition, value: Any, rows: int) -> bool:
    """Return whether a value is what a network gets for a condition of this kind."""
    if not isinstance(value, Tensor):
        return False
    if isinstance(kind, Label):
        inside = value.dtype == torch.int64 and value.shape == (rows,)
        return inside and (not rows or bool((value >= 0).all() and (value < kind.count).all()))
    return value.dtype == torch.float32 and value.shape == (rows, *kind.shape) and bool(value.isfinite().all())


def built(network: nn.Module | NetworkConfig, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> Network:
    """Return the network, or a new one of the configuration. Raise UserError where it is neither."""
    if isinstance(network, NetworkConfig):
        network = network.build(shape, conditions)
    if not isinstance(network, nn.Module):
        kind = network.__name__ if isinstance(network, type) else type(network).__name__
        raise UserError(f"{kind} is not a network: pass an instance of a torch.nn.Module, or a NetworkConfig")
    return as_network(network, conditions)


def perturbed(network: Network) -> Network:
    """Return a copy with noise on all weights that are trained: zeros of the last layers would hide what is asked."""
    made = copy.deepcopy(network).float()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                scale = 0.3 / max(parameter.shape[-1], 1) ** 0.5 if parameter.ndim > 1 else 0.3
                parameter.add_(scale * torch.randn_like(parameter))
    return made


class ScaleNetwork(Network):
    """The smallest network: a number times x. It answers at once, where passes are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, t: Tensor, d: Tensor, context: Any = None) -> Tensor:
        return self.scale * x


class PointNetwork(Network):
    """The exact average velocity from any noise to data that is one point m, for every step size.

    x_t = (1 - (1 - s) t) noise + t m, with s the share of noise that is left at t = 1, so that m - (1 - s) noise is
    the velocity at each time, and the average over each step.
    """

    def __init__(self, point: float, sigma_min: float) -> None:
        super().__init__()
        self.point, self.kept = point, 1 - sigma_min
        self.unused = nn.Parameter(torch.zeros(()))  # so that a loss has a gradient

    def forward(self, x: Tensor, t: Tensor, d: Tensor, context: Any = None) -> Tensor:
        t = t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        noise = (x - t * self.point) / (1 - self.kept * t).clamp(min=1e-12)
        return self.point - self.kept * noise + 0 * self.unused


class Probe(Network):
    """A network that keeps a record of how it is called.

    cost: network evaluations per row, as `Objective.nfe_per_example` counts them: 1 a pass, 3 with its backward pass;
    2 more where the pass carries tangents (`torch.func.jvp`). drops: those of the conditions that are trained on.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.passes = 0
        self.cost = 0
        self.drops: list[Tensor | None] = []

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Any:
        if torch.is_grad_enabled():
            self.drops.append(drop)
        return self.network.encode(cond, drop)

    def forward(self, x: Tensor, t: Tensor, d: Tensor, context: Any = None) -> Tensor:
        self.passes += 1
        tangents = any(torch.autograd.forward_ad.unpack_dual(value).tangent is not None for value in (x, t, d))
        self.cost += len(x) * ((3 if torch.is_grad_enabled() else 1) + 2 * tangents)
        return self.network(x, t, d, context)
