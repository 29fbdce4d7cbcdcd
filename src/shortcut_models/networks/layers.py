"""What the networks share: embeddings of time, step size and conditions."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..base import Cond, Condition, Frames, Label, Mask, Network, T, X
from ..errors import UserError
from .observation import ImageEncoder, ObservationSizes, vector_encoder


class Sinusoids(nn.Module):
    """Cosines and sines of a number at `count` / 2 frequencies, geometric from the first period to the last.

    The slowest period tells the ends of the range apart; the fastest tells neighbours on the grid apart.
    """

    frequencies: Tensor

    def __init__(self, count: int, first: float, last: float) -> None:
        super().__init__()
        periods = torch.logspace(math.log10(first), math.log10(last), count // 2, dtype=torch.float64)
        self.register_buffer("frequencies", (2 * math.pi / periods).float(), persistent=False)

    def forward(self, value: T) -> Float[Tensor, "b features"]:
        angles = value.float()[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], 1)


def level_of(d: T) -> T:
    """Return the level log2(1/d) of a step size; 16 of d = 0, the instantaneous velocity."""
    return -torch.log2(d.float().clamp(min=2.0**-16))


class TimeStepEmbedding(nn.Module):
    """t and d -> a vector [b, width].

    Times are 1/128 apart at the finest: a period of 1/32 turns that into a quarter turn, where sinusoids made for
    t in 0..1000 and fed with t in [0, 1] would hardly move. The step size is embedded by its level log2(1/d), as
    its sizes are powers of two; d = 0, the instantaneous velocity, stands at level 16.
    """

    def __init__(self, width: int, features: int = 128) -> None:
        super().__init__()
        self.time_features = Sinusoids(features, 4.0, 1 / 32)
        self.level_features = Sinusoids(features, 64.0, 2.0)
        self.time = vector_encoder(features, width)
        self.level = vector_encoder(features, width)

    def forward(self, t: T, d: T) -> Float[Tensor, "b width"]:
        return self.time(self.time_features(t)) + self.of_step_size(d)

    def of_step_size(self, d: T) -> Float[Tensor, "b width"]:
        """Return the part that depends on d."""
        return self.level(self.level_features(level_of(d)))


class StepSizeEmbedding(nn.Module):
    """d -> a vector [b, width], by its level as in `TimeStepEmbedding`."""

    def __init__(self, width: int, features: int = 128) -> None:
        super().__init__()
        self.features = Sinusoids(features, 64.0, 2.0)
        self.mlp = vector_encoder(features, width)

    def forward(self, d: T) -> Float[Tensor, "b width"]:
        return self.mlp(self.features(level_of(d)))


class OriginalTimeStepEmbedding(TimeStepEmbedding):
    """t and d -> a vector [b, width], as in the code that the paper was published with.

    The sinusoids, periods 2 pi to 20000 pi, were made for t in 0..1000, and are fed with t in [0, 1] and with the
    level log2(1/d). d = 0, the instantaneous velocity, stands at the level of d = 1/128, as it does in that code.
    """

    def __init__(self, width: int, features: int = 256) -> None:
        super().__init__(width, features)
        last = 2 * math.pi * 10000.0 ** (1 - 2 / features)
        self.time_features = self.level_features = Sinusoids(features, 2 * math.pi, last)

    def of_step_size(self, d: T) -> Float[Tensor, "b width"]:
        level = -torch.log2(torch.where(d > 0, d, 1 / 128).float())
        return self.level(self.level_features(level))


class ConditionEmbedding(nn.Module):
    """Named conditions -> their sum as a vector [b, width], each with a learned null for dropped rows.

    Labels have a table, vectors and masks an MLP, images an encoder for each camera, of `sizes`. As each ends with a
    layer of its own, the sum can do all that one layer on all of them together could. The label `count`, one more than
    the last class, means the null too.
    """

    def __init__(self, conditions: Mapping[str, Condition], width: int, sizes: ObservationSizes | None = None) -> None:
        super().__init__()
        self.conditions = dict(conditions)
        self.embed = nn.ModuleDict()
        self.null = nn.ParameterDict()
        for name, condition in self.conditions.items():
            if isinstance(condition, Label):
                table = nn.Embedding(condition.count, width)
                nn.init.normal_(table.weight, std=0.02)
                self.embed[name] = table
            elif isinstance(condition, Mask):
                self.embed[name] = nn.Sequential(nn.Flatten(), vector_encoder(math.prod(condition.shape), width))
            elif isinstance(condition, Frames):
                self.embed[name] = ImageEncoder(condition, sizes or ObservationSizes(), width)
            else:
                self.embed[name] = vector_encoder(condition.size, width)
            self.null[name] = nn.Parameter(0.02 * torch.randn(width))

    def labels(self) -> Iterable[Tensor]:
        """Return what stands for the classes of each label, and for none of them."""
        for name, condition in self.conditions.items():
            if isinstance(condition, Label):
                yield from (*self.embed[name].parameters(), self.null[name])

    def forward(self, cond: Cond, drop: Bool[Tensor, "b"] | None = None) -> Float[Tensor, "b width"] | None:
        total = None
        for name, condition in self.conditions.items():
            if name not in cond:
                given = sorted(cond) or "no conditions"
                raise UserError(f"the network is conditioned on {name!r}, which is not among {given}")
            if isinstance(condition, Label):
                label = cond[name] if drop is None else cond[name].masked_fill(drop, condition.count)
                table: Any = self.embed[name].weight
                value = F.embedding(label, torch.cat([table, self.null[name][None]]))
            else:
                value = self.embed[name](cond[name])
                if drop is not None:
                    value = torch.where(drop[:, None], self.null[name].to(value.dtype), value)
            total = value if total is None else total + value
        return total


class ConditionedNetwork(Network):
    """A network whose parts all get time, step size and conditions as one vector.

    A subclass makes its layers itself, as their order decides their first weights.
    """

    embed: nn.Module  # t and d -> a vector
    conditions: ConditionEmbedding
    activation: nn.Module
    blocks: nn.ModuleList

    def encode(self, cond: Cond, drop: Tensor | None = None) -> Any:
        return self.conditions(cond, drop)

    def shard_units(self) -> Iterable[nn.Module]:
        return self.blocks

    def conditioning(self, t: T, d: T, context: Any) -> Float[Tensor, "b width"]:
        """Return the vector that carries time, step size and conditions to every part."""
        c = self.embed(t, d)
        return self.activation(c if context is None else c + context)


def add_skip(v: Tensor, share: Tensor, x: X) -> Tensor:
    """Return a velocity with a share of x, which depends on t and d, added to it.

    Velocities are data - noise. The skip takes the part that is linear in x off the blocks: they need not carry the
    noise through, past normalisations that blur it.
    """
    return torch.addcmul(v, share, x).to(x.dtype)


def zeroed(layer: nn.Module) -> nn.Module:
    """Return a layer with all its parameters 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Apply adaptive normalisation's shift and scale, in their precision: that of the product it goes into."""
    return torch.addcmul(shift, x.to(shift.dtype), 1 + scale)


def check_chunk(who: str, shape: tuple[int, ...]) -> None:
    """Raise UserError, naming the network, where events are not action chunks (horizon, action)."""
    if len(shape) != 2:
        raise UserError(f"{who} takes action chunks (horizon, action), not events of shape {shape}: use network mlp")
