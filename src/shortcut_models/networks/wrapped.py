"""Networks from any torch module, and networks for events with padding."""

import copy
import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from ..base import Cond, Condition, Label, Mask, Network, T, X
from ..batch import MASK, without_padding
from ..errors import UserError, first_line

ROWS = 2  # of the batch that a module is tried out with
LEVEL = 7  # frames from a warning to the caller of `fit`


def as_network(module: nn.Module, conditions: Mapping[str, Condition] | None = None) -> Network:
    """Return any module as a network: what `fit` and `load` do with the one that they are given.

    Args:
        module: a `Network`, which is returned as it is; a model of diffusers, see `from_diffusers`; or any module that
            is called as `net(x, t, d)` or `net(x, t, d, **conditions)`, see `WrappedNetwork`.
        conditions: those of the task, by name; with a `Mask` among them, the network becomes a `MaskedNetwork`.

    Raises:
        UserError: the module does not take these arguments.
    """
    found = dict(conditions or {})
    if isinstance(module, Network):
        network = module
    elif type(module).__module__.startswith("diffusers."):
        from .from_diffusers import from_diffusers

        network = from_diffusers(module, found)
    else:
        network = WrappedNetwork(module, found)
    if not isinstance(network, MaskedNetwork) and any(isinstance(each, Mask) for each in found.values()):
        return MaskedNetwork(network)
    return network


class MaskedNetwork(Network):
    """A network that sees 0 in padding, and whose velocity is 0 there: see `base.Mask`.

    So padding teaches it nothing, whatever the objective.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.wrapped = network

    @property
    def config(self) -> Any:
        """The configuration of the network inside, if it has one."""
        return self.wrapped.config

    def encode(self, cond: Cond, drop: Bool[Tensor, "b"] | None = None) -> Any:
        return cond[MASK], self.wrapped.encode(cond, drop)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        mask, inner = context
        padded = {MASK: mask}
        return without_padding(self.wrapped(without_padding(x, padded), t, d, inner), padded)

    def shard_units(self) -> Iterable[nn.Module]:
        return self.wrapped.shard_units()


class ForeignNetwork(Network):
    """A network around a module from elsewhere, which is tried out before it is trained."""

    name: str  # of the module, in messages
    conditions: Mapping[str, Condition]
    takes: tuple[str, ...]  # the conditions that the module is passed


class WrappedNetwork(ForeignNetwork):
    """A module called as `net(x, t, d)` or `net(x, t, d, **conditions)`, which returns a velocity like x.

    x is [b, *event], t and d are float32 [b]. A condition is passed by name if `forward` has a parameter of that name,
    or `**` parameters. In rows that lose their conditions, for classifier-free guidance, a label is `count`, one more
    than the last class, and a vector or an image is 0. A module that has a parameter `drop`, bool [b], gets those rows
    as well. Floats of another precision become those of x.

    Raises:
        UserError: `forward` does not take these arguments, or requires others.
    """

    def __init__(self, module: nn.Module, conditions: Mapping[str, Condition]) -> None:
        super().__init__()
        self.wrapped = module
        self.name = type(module).__name__
        self.conditions: Mapping[str, Condition] = dict(conditions)
        self.takes, self.takes_drop = self._read_signature()

    def _read_signature(self) -> tuple[tuple[str, ...], bool]:
        """Return the conditions that the module takes, and whether it takes `drop`."""
        forward = getattr(self.wrapped, "_orig_mod", self.wrapped).forward  # of a compiled module, the one inside
        if isinstance(self.wrapped, torch.jit.ScriptModule):
            raise UserError(f"{self.name} is a script of TorchScript: pass the module that it was made from")
        kinds = inspect.Parameter
        given = list(inspect.signature(forward).parameters.values())
        by_place = [each for each in given if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
        any_place = any(each.kind == kinds.VAR_POSITIONAL for each in given)
        if len(by_place) < 3 and not any_place:
            listed = ", ".join(each.name for each in given)
            raise UserError(f"{self.name}.forward must take x, t and d, and conditions by name, not ({listed})")
        named = [each for each in given if each.kind == kinds.KEYWORD_ONLY] + by_place[3:]
        names = {each.name for each in named}
        known = {*self.conditions, "drop"}
        for each in named:
            if each.default is kinds.empty and each.name not in known:
                has = ", ".join(self.conditions) or "no conditions"
                raise UserError(
                    f"{self.name}.forward requires {each.name!r}, and the task has {has}: name one of these, or give "
                    f"the parameter a default"
                )
        rest = any(each.kind == kinds.VAR_KEYWORD for each in given)
        return tuple(name for name in self.conditions if rest or name in names), "drop" in names

    def encode(self, cond: Cond, drop: Bool[Tensor, "b"] | None = None) -> Any:
        passed: dict[str, Any] = {name: cond[name] for name in self.takes}
        if drop is not None:
            passed = {name: self._dropped(name, value, drop) for name, value in passed.items()}
        if self.takes_drop:
            passed["drop"] = drop
        return passed

    def _dropped(self, name: str, value: Tensor, drop: Tensor) -> Tensor:
        condition = self.conditions[name]
        if isinstance(condition, Mask):
            return value
        null = condition.count if isinstance(condition, Label) else 0
        return value.masked_fill(drop.reshape(-1, *[1] * (value.ndim - 1)), null)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        velocity = self.wrapped(x, t, d, **(context or {}))
        if not isinstance(velocity, Tensor):
            kind = type(velocity).__name__
            raise UserError(f"{self.name} must return one tensor, not {kind}: return the velocity alone")
        if velocity.shape != x.shape:
            found, wanted = list(velocity.shape), list(x.shape)
            raise UserError(f"{self.name} returns {found} for x {wanted}: return a velocity of the shape of x")
        if not velocity.is_floating_point():
            raise UserError(f"{self.name} returns {velocity.dtype}: return floats")
        if velocity.device != x.device:
            raise UserError(f"{self.name} returns a tensor on {velocity.device} for x on {x.device}: keep it there")
        return velocity.to(x.dtype)


def foreign_inside(network: Network) -> ForeignNetwork | None:
    """Return the network around a module from elsewhere that this one is or holds, if it does."""
    inner = network.wrapped if isinstance(network, MaskedNetwork) else network
    return inner if isinstance(inner, ForeignNetwork) else None


def try_out(
    inner: ForeignNetwork,
    shape: tuple[int, ...],
    *,
    device: torch.device,
    needs_step_size: bool,
    drops_conditions: bool,
) -> None:
    """Call a module from elsewhere on random numbers before it is trained.

    Args:
        inner: as `foreign_inside` returns it; its weights, buffers and mode stay as they are.
        shape: of an event.
        device: where it is to train.
        needs_step_size: warn if the network ignores d. Its weights are varied for that, as the last layer of a
            network may be 0 at the start.
        drops_conditions: whether rows lose their conditions in training.

    Raises:
        UserError: the module cannot be called, or returns something else than a velocity.
    """
    if not any(parameter.requires_grad for parameter in inner.parameters()):
        raise UserError(f"{inner.name} has no parameters to train: give it some, and keep requires_grad set")
    unused = [name for name in inner.conditions if name not in inner.takes and name != MASK]
    if unused:
        warnings.warn(
            f"{inner.name} does not take {', '.join(unused)}: samples will not depend on it", stacklevel=LEVEL
        )
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        copied = copy.deepcopy(inner).to(device=device, dtype=torch.float32).eval()
        cond = {name: each.example(ROWS, device) for name, each in inner.conditions.items()}
        x, half = torch.randn(ROWS, *shape, device=device), torch.full((ROWS,), 0.5, device=device)
        kept = torch.zeros(ROWS, dtype=torch.bool, device=device)
        context = copied.encode(cond, kept)
        _call(copied, x, half, half, context)
        if drops_conditions and inner.takes:
            _call(copied, x, half, half, copied.encode(cond, ~kept), _without_condition(inner))
        if not needs_step_size:
            return
        for parameter in copied.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        one, other = (_call(copied, x, half, torch.full_like(half, d), context) for d in (0.5, 1 / 128))
    if torch.equal(one, other):
        warnings.warn(
            f"{inner.name} ignores d, the step size, so it cannot learn to take large steps: use d in its forward",
            stacklevel=LEVEL,
        )


def _without_condition(network: ForeignNetwork) -> str:
    """Return what to do about a module that cannot do without its conditions."""
    kinds = network.conditions
    counts = {name: kinds[name].count for name in network.takes if isinstance(kinds[name], Label)}  # type: ignore[union-attr]
    nulls = [
        f"{name} {count} stands for none, so an embedding of it has {count + 1} rows" for name, count in counts.items()
    ]
    return "; ".join(["", *nulls, "or train with label_dropout=0"])


def _call(network: ForeignNetwork, x: X, t: T, d: T, context: Any, advice: str = "") -> X:
    try:
        return network(x, t, d, context)
    except UserError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError) as error:
        given = ", ".join([f"x {list(x.shape)}", f"t {list(t.shape)}", f"d {list(d.shape)}", *network.takes])
        raise UserError(f"{network.name} cannot be called with {given}: {first_line(error)}{advice}") from error
