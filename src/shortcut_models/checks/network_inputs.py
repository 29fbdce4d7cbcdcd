"""What a network's answer depends on: x, t, d and the conditions, unless these are dropped."""

import itertools

import torch
from torch import Tensor

from ..base import Label, Network, Objective
from .examples import batch_of, other_values
from .findings import differ, doubt, fail
from .subject import Call, Subject

ROWS = 6
SEEN = 1e-6
"""a change of the answer above this share of it counts as one"""
STEP_SIZES = [1 / 2**k for k in range(8)]  # those of 1, 2, ... 128 steps


def _call(subject: Subject, t: float = 0.25, d: float = 0.5) -> Call:
    batch = batch_of(ROWS, subject.shape, subject.conditions)
    return Call(batch.data, torch.full((ROWS,), t), torch.full((ROWS,), d), batch.cond, None).to(subject.device)


def check_inputs(subject: Subject, objective: Objective | None) -> None:
    """Check that the velocity depends on x, on t, and on each step size unless the method has one alone."""
    call = _call(subject)
    if not differ(subject(call), subject(call._replace(x=call.x + torch.randn_like(call.x))), SEEN):
        fail("forward", "gives every x the same velocity", "let the answer depend on x")
    if not differ(subject(call), subject(call._replace(t=call.t + 0.5)), SEEN):
        fail("forward", "ignores t, the time from 0 (noise) to 1 (data)",
             "add networks.layers.TimeStepEmbedding(width)(t, d) to what each layer gets")  # fmt: skip
    if objective is None or objective.conditioned_step_size is None:
        _check_step_sizes(subject, call._replace(t=torch.zeros_like(call.t)))


def _check_step_sizes(subject: Subject, call: Call) -> None:
    found = [subject(call._replace(d=torch.full_like(call.d, d))) for d in STEP_SIZES]
    same = [not differ(a, b, SEEN) for a, b in itertools.pairwise(found)]
    change = (
        "add networks.layers.TimeStepEmbedding(width)(t, d) to what each layer gets; if the network is for a method "
        "with one step size alone, pass that: check_network(..., objective=FlowMatching())"
    )
    if all(same):
        fail("forward", "ignores d, the step size, so one step and 128 small ones follow the same velocity, and a "
             "method that trains step sizes, such as Shortcut, can learn no large step", change)  # fmt: skip
    if any(same):
        first = same.index(True)
        fail("forward", f"gives the step sizes 1/{2**first} and 1/{2 ** (first + 1)} the same velocity", change)


def check_conditions(subject: Subject) -> None:
    """Check that each condition matters, and that `drop` replaces all of them by the same, row by row."""
    if not subject.conditions:
        return
    if type(subject.network).encode is Network.encode:
        doubt(
            f"the network has no encode(cond, drop), so its samples do not follow {', '.join(subject.conditions)}: "
            f"add one, for example with networks.layers.ConditionEmbedding",
        )
        return
    call = _call(subject)
    kept = subject(call)
    for name, kind in subject.conditions.items():
        if isinstance(kind, Label) and kind.count == 1:
            continue
        changed = {**call.cond, name: other_values(kind, call.cond[name])}
        if not differ(kept, subject(call._replace(cond=changed)), SEEN):
            fail("forward and encode", f"ignore the condition {name!r}", "let the answer depend on it")
    _check_drop(subject, call, kept)


def _check_drop(subject: Subject, call: Call, kept: Tensor) -> None:
    every = torch.ones(ROWS, dtype=torch.bool, device=subject.device)
    some = torch.arange(ROWS, device=subject.device) % 2 == 1
    dropped = subject(call._replace(drop=every))
    cond = {name: other_values(kind, call.cond[name]) for name, kind in subject.conditions.items()}
    null = "where drop is true, put a learned null in place of the condition, which guidance needs"
    if not differ(kept, dropped, SEEN):
        fail("encode(cond, drop)", "ignores drop", null)
    if differ(dropped, subject(call._replace(cond=cond, drop=every))):
        fail("encode(cond, drop)", "still depends on the conditions where drop is true", null)
    if differ(kept, subject(call._replace(drop=~every))):
        fail("encode(cond, drop)", "differs between drop=None and a drop that is all false", "treat them alike")
    mixed = subject(call._replace(drop=some))
    if differ(mixed[some], dropped[some], 1e-3) or differ(mixed[~some], kept[~some], 1e-3):
        fail("encode(cond, drop)", "drops the conditions of other rows than those where drop is true",
             "choose row by row: torch.where(drop[:, None], null, value)")  # fmt: skip
