"""What a method costs: the network evaluations of a training example, counted."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

from ..base import Batch, Condition, Losses, Network, Objective
from ..randomness import seed_all
from .examples import Probe, ScaleNetwork, batch_of, pairs_of
from .findings import calling, fail

ROWS = 50
PROGRESS = 28
"""shares of a training that are tried, at least; 28 has each stage of max_steps 16 and of 128 equally often"""


class Cost(NamedTuple):
    """The evaluations of a training example: 1 a pass, 3 with its backward pass; 2 more for a pass with tangents."""

    mean: float
    error: float
    """standard error of the mean, where the method draws at random how many rows pass through which network"""
    passes: str
    """the networks and how often they are called for a batch, in words"""


def losses_of(
    objective: Objective, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0,
    teacher: Network | None = None,
) -> Losses:  # fmt: skip
    """Return the losses, with what the trainer passes to a method of this kind. Raise UserError where it raises."""
    given = teacher if objective.requires == "teacher" else None
    batch = pairs_of(batch) if objective.requires == "pairs" else batch
    change = "take losses(net, target_net, batch, *, progress=0.0, teacher=None), or **context for the last two"
    with calling(f"losses for {len(batch)} rows", change):
        return objective.losses(net, target_net, batch, progress=progress, teacher=given)


def measure_cost(objective: Objective, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> Cost:
    """Count the passes of all networks, on average over the progress of a training and the method's random choices."""
    stages = max(objective.stages, 1)
    count = stages * math.ceil(PROGRESS / stages)
    costs, repeats = torch.zeros(count, 0), 2
    probes = {name: Probe(ScaleNetwork()) for name in ("net", "target_net", "teacher")}
    while costs.shape[1] < repeats:
        column = [_cost_of_batch(objective, probes, shape, conditions, index / count) for index in range(count)]
        costs = torch.cat([costs, torch.tensor(column)[:, None]], 1)
        if costs.shape[1] == 2 and (costs[:, 0] != costs[:, 1]).any():
            repeats = 8
    spread = costs.var(1).mean().sqrt()
    called = {name: probe.passes / count / repeats for name, probe in probes.items() if probe.passes}
    return Cost(
        float(costs.double().mean()) / ROWS,
        float(spread) / ROWS / math.sqrt(costs.numel()),
        ", ".join(f"{times:.3g} of {name}" for name, times in called.items()) or "none",
    )


def _cost_of_batch(
    objective: Objective, probes: Mapping[str, Probe], shape: tuple[int, ...], conditions: Mapping[str, Condition],
    progress: float,
) -> int:  # fmt: skip
    before = sum(probe.cost for probe in probes.values())
    batch = batch_of(ROWS, shape, conditions)
    losses_of(
        objective, probes["net"], probes["target_net"], batch, progress=progress, teacher=probes["teacher"]
    )  # fmt: skip
    return sum(probe.cost for probe in probes.values()) - before


def check_cost(objective: Objective, shape: tuple[int, ...], conditions: Mapping[str, Condition]) -> None:
    """Check that `nfe_per_example` is what `losses` costs, up to a row in a batch."""
    seed_all(0)
    found, said = measure_cost(objective, shape, conditions), objective.nfe_per_example
    # A share of the rows that is not a whole number of them may be rounded: by a row, which passes a few times.
    if abs(found.mean - said) > 5 * found.error + 0.02 * max(found.mean, said):
        fail("nfe_per_example", f"is {said:.4g}, and losses takes {found.mean:.4g} evaluations for an example (passes "
             f"of a batch: {found.passes})", "count 1 for a pass, 3 for one with its backward pass, 2 more for one "
             "inside torch.func.jvp, so that compare gives all methods the same; passes for targets belong into "
             "torch.no_grad()")  # fmt: skip
