"""A case whose answer is known: data that is one point, and the network that is exact for it."""

from collections.abc import Mapping

import torch

from ..base import Batch, Condition, Objective
from ..randomness import seed_all
from .cost import losses_of
from .examples import PointNetwork, batch_of
from .findings import fail

ROWS = 64
POINT = 0.25
TOLERANCE = 1e-3


def exact_loss(objective: Objective, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> float:
    """Return the largest mean loss of the exact network over a training, in double precision; 0 where all is right."""
    net = PointNetwork(POINT, getattr(objective, "sigma_min", 0.0))
    batch = batch_of(ROWS, shape, conditions)
    points = Batch(torch.full_like(batch.data, POINT, dtype=torch.float64), batch.cond)
    found = [
        losses_of(objective, net, net, points, progress=progress, teacher=net) for progress in (0.0, 0.4, 0.8, 1.0)
    ]  # fmt: skip
    return max(float(each.per_example.detach().mean()) for each in found)


def check_exact(objective: Objective, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
    """Check that the exact network has no loss, and that its samples end at the data in any number of steps."""
    seed_all(0)
    name, loss = type(objective).__name__, exact_loss(objective, shape, conditions)
    if not loss < TOLERANCE:
        fail(f"the loss of {name}", f"is {loss:.3g} where it must be 0: for data that is one point, at a network that "
             "is exact", "the target is not data - noise, or x is not (1 - t) noise + t data, or t and d are not those "
             "of the target")  # fmt: skip
    net = PointNetwork(POINT, getattr(objective, "sigma_min", 0.0))
    batch = batch_of(ROWS, shape, conditions)
    for steps in sorted({1, min(4, objective.max_steps), objective.max_steps}):
        made = objective.sample(net, batch.data.double(), batch.cond, steps)
        away = float((made - POINT).abs().max()) - 5 * getattr(objective, "sigma_min", 0.0)
        if not away < TOLERANCE:
            fail(f"sample of {name} in {steps} steps", f"ends {away:.3g} away from the data, with an exact network",
                 "steps must cover [0, 1], and each must move by its own length")  # fmt: skip
