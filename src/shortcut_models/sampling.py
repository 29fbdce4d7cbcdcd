"""Samplers are plain generators: they yield every x on the way from noise to data."""

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from .base import Cond, Network, T, X
from .path import interpolate, step
from .randomness import generators_of, normal_like

Velocity = Callable[[X, T, T], X]


def guided(
    net: Network, cond: Cond, guidance: float, rows: int, device: torch.device, drop: Bool[Tensor, "b"] | None = None
) -> Velocity:
    """Return the network as a function of (x, t, d), with its conditions encoded once and guidance applied.

    drop [b]: rows without their condition, whatever the guidance.

    Classifier-free guidance (Ho and Salimans 2022): uncond + w (cond - uncond), both in one doubled batch.
    w = 1 needs the conditional half only, w = 0 the unconditional half only.
    """
    if guidance in (0.0, 1.0) or not cond:
        drop = torch.zeros(rows, dtype=torch.bool, device=device) if drop is None else drop
        context = net.encode(cond, torch.ones_like(drop) if guidance == 0.0 else drop)
        return lambda x, t, d: net(x, t, d, context)

    twice = {name: torch.cat([value, value]) for name, value in cond.items()}
    without = torch.arange(2 * rows, device=device) >= rows
    context = net.encode(twice, without if drop is None else without | torch.cat([drop, drop]))

    def velocity(x: X, t: T, d: T) -> X:
        both = net(torch.cat([x, x]), torch.cat([t, t]), torch.cat([d, d]), context)
        with_cond, without = both.chunk(2)
        return without + guidance * (with_cond - without)

    return velocity


def euler(
    net: Network, noise: X, cond: Cond, times: Sequence[float], *,
    step_cond: float | None = None, guidance: float = 1.0, drop: Bool[Tensor, "b"] | None = None,
) -> Iterator[X]:  # fmt: skip
    """Step from times[0] to times[-1] and yield x after every step; no gradient is kept.

    step_cond: the step size that the network is conditioned on; by default the one that is taken.
    drop [b]: rows without their condition, whatever the guidance.
    """
    rows, device = len(noise), noise.device
    with torch.no_grad():
        velocity = guided(net, cond, guidance, rows, device, drop)
    x = noise
    full = lambda value: torch.full((rows,), value, device=device)
    for start, end in itertools.pairwise(times):
        with torch.no_grad():  # not around the yield, where the caller's own code runs
            v = velocity(x, full(start), full(end - start if step_cond is None else step_cond))
            x = step(x, full(end - start), v)
        yield x


def euler_back(net: Network, data: X, cond: Cond, times: Sequence[float], *, step_cond: float) -> Iterator[X]:
    """Step from times[-1] back to times[0] and yield x after every step; no gradient is kept.

    Each step takes the velocity at its lower end, as that of `euler` does, but at the x that is known (the inversion of
    Song et al. 2021, arXiv 2010.02502, section 5.4). So its error falls with the step.

    step_cond: the step size at which the network gives the velocity of the flow.
    """
    rows, device = len(data), data.device
    with torch.no_grad():
        velocity = guided(net, cond, 1.0, rows, device)
    x = data
    full = lambda value: torch.full((rows,), value, device=device)
    for end, start in itertools.pairwise(reversed(times)):
        with torch.no_grad():
            x = step(x, full(start - end), velocity(x, full(start), full(step_cond)))
        yield x


def renoise(
    net: Network, noise: X, cond: Cond, times: Sequence[float], *, step_cond: float, guidance: float = 1.0
) -> Iterator[X]:
    """Predict the data, go back to the next time with fresh noise, and yield what is there; no gradient is kept.

    Multistep consistency sampling (Song et al. 2023, algorithm 1). The fresh noise of each row follows from its first
    noise, so that a sample does not depend on its batch.
    """
    rows, device, fresh = len(noise), noise.device, generators_of(noise)
    with torch.no_grad():
        velocity = guided(net, cond, guidance, rows, device)
    x = noise
    full = lambda value: torch.full((rows,), value, device=device)
    for start, end in itertools.pairwise(times):
        with torch.no_grad():
            x = step(x, full(1 - start), velocity(x, full(start), full(step_cond)))
            if end < 1:
                x = interpolate(normal_like(noise, fresh), x, full(end))
        yield x


def last(points: Iterator[X]) -> X:
    """Return the end of a trajectory."""
    (x,) = collections.deque(points, maxlen=1)
    return x
