"""What the class of a method says of it, against what its losses do."""

import copy
import math

import torch
from torch import Tensor

from ..base import Batch, Network, Objective
from ..randomness import seed_all
from .cost import losses_of
from .examples import Probe, pairs_of, perturbed
from .findings import doubt, fail

DRAWS = 60


def check_flags(objective: Objective, net: Network, batch: Batch) -> None:
    """Check `uses_target_net` and `requires` against the networks that `losses` calls."""
    name, target, teacher = type(objective).__name__, Probe(perturbed(net)), Probe(perturbed(net))
    for progress in (0.0, 0.5, 1.0):
        for _ in range(3):
            losses_of(objective, net, target, batch, progress=progress, teacher=teacher)
    # Where there are stages, the trainer itself uses it: it becomes the teacher of the next stage.
    if target.passes and not objective.uses_target_net:
        fail(f"{name}.uses_target_net", f"is False, and losses calls target_net {target.passes / 9:.3g} times a batch",
             "set it to True: without, target_net is net itself and no average")  # fmt: skip
    if objective.uses_target_net and not target.passes and objective.stages == 1 < objective.max_steps:
        doubt(
            f"{name}.uses_target_net is True, and losses never calls target_net: set it to False, so that the trainer "
            f"keeps no copy of the network for it"
        )
    if objective.requires == "teacher" and not teacher.passes:
        doubt(f'{name}.requires is "teacher", and losses never calls teacher: set it to "data"')
    if objective.requires == "pairs":
        _check_pairs(objective, net, batch)


def _check_pairs(objective: Objective, net: Network, batch: Batch) -> None:
    some, pairs, net = [], pairs_of(batch), copy.deepcopy(net).eval()
    for noise in (pairs.noise, -pairs.noise):
        seed_all(7)
        changed = copy.copy(pairs)
        changed.noise = noise
        some.append(objective.losses(net, net, changed, progress=0.0, teacher=None).per_example)
    if torch.equal(*some):
        fail(f'losses of a method that requires "pairs", {type(objective).__name__},', "ignores batch.noise",
             "start from it: batch.data is what the teacher made of this noise")  # fmt: skip


def check_progress(objective: Objective, net: Network, batch: Batch) -> None:
    """Check `has_schedule` against what the progress of a training changes."""
    name, target, net = type(objective).__name__, perturbed(net).eval(), copy.deepcopy(net).eval()
    some = []
    for progress in (0.0, 0.5, 0.99):
        seed_all(7)
        some.append(losses_of(objective, net, target, batch, progress=progress, teacher=target).per_example)
    changes = not (torch.equal(some[0], some[1]) and torch.equal(some[0], some[2]))
    if changes and not objective.has_schedule:
        fail(f"{name}.has_schedule", "is False, and the losses follow progress",
             "set it to True: a longer training then goes back on its schedule")  # fmt: skip
    if objective.has_schedule and not changes and objective.max_steps > 2:
        doubt(f"{name}.has_schedule is True, and the losses do not follow progress: set it to False")
    if objective.stages > 1 and not objective.has_schedule:
        fail(f"{name}.has_schedule", f"is False, and there are {objective.stages} stages", "set it to True")


def check_dropout(objective: Objective, net: Network, batch: Batch) -> None:
    """Check that a share `label_dropout` of the rows loses its conditions; of pairs, those made without."""
    if not batch.cond:
        return
    probe, name = Probe(net), type(objective).__name__
    for _ in range(DRAWS):
        losses_of(objective, probe, net, batch, teacher=net)
    drops = [torch.zeros(len(batch), dtype=torch.bool) if each is None else each.cpu() for each in probe.drops]
    if len(drops) != DRAWS:
        return  # Nothing is encoded, as `check_conditions` says, or several times, each for a purpose of its own.
    rows = torch.cat(drops)
    found, said = float(rows.float().mean()), objective.label_dropout
    if objective.requires == "pairs":
        _check_dropped_pairs(probe, batch, drops)
    elif abs(found - said) > 5 * math.sqrt(said * (1 - said) / len(rows)) + 1e-9:
        change = "pass net.encode(batch.cond, drop) a drop of torch.rand(rows, device=...) < self.label_dropout"
        if not said:
            change = "give the method a field label_dropout, so that it says its share"
        fail(f"{name}.label_dropout", f"is {said:.3g}, and net.encode drops the conditions of {found:.3g} of the rows",
             change)  # fmt: skip


def _check_dropped_pairs(probe: Probe, batch: Batch, drops: list[Tensor]) -> None:
    if any(not torch.equal(drop, pairs_of(batch).drop.cpu()) for drop in drops):
        fail("losses of pairs", "drops the conditions of other rows than batch.drop",
             "pass net.encode(batch.cond, batch.drop): these samples were made without")  # fmt: skip
