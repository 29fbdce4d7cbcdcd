"""`check_network`: what every network owes its objective, its trainer and its task."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from ..base import Condition, Network, NetworkConfig, Objective, Task
from ..randomness import fixed_randomness, seed_all
from ..system.defaults import torch_defaults
from .devices import require_device, second_device
from .examples import batch_of, built, perturbed, sizes_of
from .findings import calling, describe, differ, doubt, fail, names
from .network_inputs import check_conditions, check_inputs
from .subject import Call, Subject

ROWS = 6
BATCHES = 3
"""batches after which a parameter without a gradient counts as unused; in a small one, a unit may be idle"""


@torch_defaults(gradients=True)
def check_network(
    network: Network | NetworkConfig, task: Task | None = None, *, shape: tuple[int, ...] | None = None,
    conditions: Mapping[str, Condition] | None = None, objective: Objective | None = None, device: str = "cpu",
) -> None:  # fmt: skip
    """Check a network of your own, on a copy with perturbed weights; return None if all is well.

    It is called with random examples, so the check reads no data and takes seconds. It looks at shapes, dtypes and
    devices; at what the answer depends on (x, t, d, the conditions, `drop`, and nothing else: no other row, no chance);
    at gradients, `state_dict`, copies, and bfloat16.

    Args:
        network: the network, or its configuration.
        task: gives the shape and the conditions.
        shape: the shape of an example without a task, such as (3, 32, 32).
        conditions: its conditions, such as {"label": Label(10)}.
        objective: the method it is made for; one with a single step size may have a network that ignores d.
        device: where to call it; a second device is simulated in any case.

    Raises:
        UserError: what is wrong, and what to change. What is only doubtful is a warning.
    """
    shape, conditions = sizes_of(task, shape, conditions)
    with fixed_randomness():
        with calling(f"{type(network).__name__}.build({shape}, {names(list(conditions)) or 'no conditions'})",
                     "make it build a network of this shape"):  # fmt: skip
            original = built(network, shape, conditions)
        if not any(parameter.requires_grad for parameter in original.parameters()):
            fail(type(original).__name__, "has no parameter to train",
                 "make its tensors torch.nn.Parameter, and its layers attributes")  # fmt: skip
        with calling("copy.deepcopy(network)", "keep only tensors and layers in it: training copies it for its means"):
            mine = perturbed(original).to(device).eval()
        subject = Subject(mine, shape, conditions)
        check_answers(subject)
        check_nothing_changes(subject)
        check_rows(subject)
        check_inputs(subject, objective)
        check_conditions(subject)
        check_gradients(subject)
        check_copies(subject, network)
        check_training_mode(subject)
        check_bfloat16(subject)
        check_units(subject)
        check_second_device(subject)


def calls(subject: Subject) -> list[Call]:
    """Return calls of each kind: conditions kept, unset and dropped; steps of all sizes, and d = 0."""
    batch = batch_of(ROWS, subject.shape, subject.conditions)
    t = torch.tensor([0.0, 0.5, 127 / 128, 1.0, 0.25, 0.75])
    d = torch.tensor([1.0, 0.5, 1 / 128, 0.0, 0.0, 0.25])
    drops = (None, torch.zeros(ROWS, dtype=torch.bool), torch.ones(ROWS, dtype=torch.bool))
    return [Call(batch.data, t, d, batch.cond, drop).to(subject.device) for drop in drops]


def check_answers(subject: Subject) -> None:
    """Check that the velocity has the shape, dtype and device of x, and is finite: also at d = 0 and t = 1."""
    for call in calls(subject):
        found = subject(call)
        what = subject.describe(call)
        if not isinstance(found, Tensor):
            fail(what, f"returns {describe(found)}", "return a tensor, the velocity")
        if found.shape != call.x.shape:
            fail(what, f"returns {describe(found)}, not {list(call.x.shape)}",
                 "return one velocity for each x, of the same shape")  # fmt: skip
        if found.dtype != call.x.dtype:
            fail(what, f"returns {describe(found)}, not {describe(call.x)}", "return the dtype of x: v.to(x.dtype)")
        require_device(what, found, call.x.device)
        if not found.isfinite().all():
            rows = (~found.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist()
            where = ", ".join(f"t = {call.t[row]:.3g} and d = {call.d[row]:.3g}" for row in rows[:2])
            fail(what, f"returns numbers that are not finite at {where}",
                 "t and d reach from 0 to 1, both included: do not divide by them or take their logarithm")  # fmt: skip


def check_nothing_changes(subject: Subject) -> None:
    """Check that a call in evaluation mode changes nothing, and that the same call has the same answer."""
    call = calls(subject)[1]
    copied, before = call.clone(), {name: value.clone() for name, value in subject.network.state_dict().items()}
    first = subject(call)
    for name, value in subject.network.state_dict().items():
        if not torch.equal(value, before[name]):
            fail("forward in evaluation mode", f"changes {name}", "change nothing unless self.training")
    for name, now, then in call.compared(copied):
        if not torch.equal(now, then):
            fail("forward", f"changes its input {name} in place", "compute new tensors: no +=, no mul_")
    if subject.network.training:
        fail("forward", "switches the network to training mode", "leave .train() and .eval() to the caller")
    seed_all(99)
    if not torch.equal(subject(call), first):
        fail("forward in evaluation mode", "gives another answer to the same call",
             "draw nothing at random unless self.training, as torch.nn.Dropout does")  # fmt: skip


def check_rows(subject: Subject) -> None:
    """Check that a row's velocity does not depend on the other rows."""
    call = calls(subject)[0]
    together = subject(call)
    for row in range(2):
        alone = subject(call.rows(row))
        if differ(alone, together[row : row + 1], 1e-3):
            fail("forward in evaluation mode", f"gives row {row} of a batch of {ROWS} another velocity than alone",
                 "compute no statistics over the batch: samples must not depend on one another")  # fmt: skip


def check_gradients(subject: Subject) -> None:
    """Check that a finite gradient reaches every parameter that is trained."""
    trained = {name: each for name, each in subject.network.named_parameters() if each.requires_grad}
    reached: set[str] = set()
    for _ in range(BATCHES):
        call = calls(subject)[0]
        dropped = torch.arange(ROWS, device=subject.device) % 3 == 2
        found = subject(call._replace(drop=dropped), gradients=True)
        if not found.requires_grad:
            fail("forward", "returns a velocity without a gradient", "leave out no_grad, detach and .data")
        grads = torch.autograd.grad((found * torch.randn_like(found)).sum(), list(trained.values()), allow_unused=True)
        for name, grad in zip(trained, grads, strict=True):
            if grad is not None and not grad.isfinite().all():
                fail("the gradient of forward", f"is not finite at the parameter {name}",
                     "square roots and norms have no slope at 0: add a small number inside")  # fmt: skip
            if grad is not None and grad.any():
                reached.add(name)
    missing = [name for name in trained if name not in reached]
    if missing:
        fail("forward and encode", f"never use {names(missing)}: no gradient reaches it",
             "use it, remove it, or set its requires_grad to False")  # fmt: skip


def check_copies(subject: Subject, network: Network | NetworkConfig) -> None:
    """Check that a copy stands alone, and that `state_dict` holds all that decides the answers."""
    call = calls(subject)[1]
    before = subject(call)
    other = subject.of(perturbed(subject.network).to(subject.device).eval())
    if differ(subject(call), before):
        fail("a copy.deepcopy of the network", "shares weights with it", "keep layers as attributes, in no closure")
    if not differ(other(call), before):
        fail("a copy.deepcopy of the network", "still uses the original's weights",
             "call layers by self.NAME, not by a function that was made in __init__")  # fmt: skip
    if isinstance(network, NetworkConfig):
        seed_all(5)
        other = subject.of(network.build(subject.shape, subject.conditions).to(subject.device).eval())
    with calling("load_state_dict(state_dict())", "let both have the same names"):
        other.network.load_state_dict(subject.network.state_dict())
    if not torch.equal(other(call), before):
        fail("a network with the same state_dict", "gives another answer",
             "register_buffer what it draws or counts, so that a checkpoint holds it")  # fmt: skip


def check_training_mode(subject: Subject) -> None:
    """Check that training mode works too, and warn where a row depends on the others in it."""
    trained = subject.of(copy.deepcopy(subject.network).train())
    call, before = calls(subject)[1], {name: each.clone() for name, each in trained.network.named_parameters()}
    seed_all(1)
    found = trained(call)
    if found.shape != call.x.shape or not found.isfinite().all():
        fail("forward in training mode", f"returns {describe(found)} that is wrong or not finite",
             "return a velocity for each x in both modes")  # fmt: skip
    if not trained.network.training:
        fail("forward", "switches the network to evaluation mode", "leave .train() and .eval() to the caller")
    changed = [name for name, each in trained.network.named_parameters() if not torch.equal(each, before[name])]
    if changed:
        fail("forward in training mode", f"changes the parameter {changed[0]}", "leave that to the optimiser")
    kind = torch.nn.modules.batchnorm._BatchNorm
    norms = [name for name, each in trained.network.named_modules() if isinstance(each, kind)]
    if norms:
        doubt(
            f"{names(norms)} normalises over the batch in training mode: a row then depends on the others, and so on "
            f"how a batch is split: use GroupNorm or LayerNorm",
        )


def check_bfloat16(subject: Subject) -> None:
    """Check that the network works under autocast, as training in bfloat16 calls it."""
    call = calls(subject)[1]
    exact = subject(call)
    with torch.autocast(subject.device.type, torch.bfloat16):
        found = subject(call)
    if found.shape != exact.shape or not found.isfinite().all():
        fail("forward under torch.autocast in bfloat16", "returns numbers that are not finite",
             "compute what grows large in float32: value.float()")  # fmt: skip
    if differ(found, exact, 0.25):
        doubt(
            "under torch.autocast in bfloat16 the velocity is more than a quarter off: embed t and d in float32, or "
            "train with precision fp32",
        )


def check_units(subject: Subject) -> None:
    """Check that `shard_units` names submodules."""
    inside = set(subject.network.modules())
    units = list(subject.network.shard_units())
    if any(unit not in inside or unit is subject.network for unit in units):
        fail("shard_units()", "returns a module that is not inside the network", "return blocks that forward calls")


def check_second_device(subject: Subject) -> None:
    """Check that all tensors follow the network to another device."""
    away, call = copy.deepcopy(subject.network).to("meta"), calls(subject)[1].to(torch.device("meta"))
    with second_device("encode or forward"):
        context = away.encode(call.cond, call.drop)
        require_device("forward", away(call.x, call.t, call.d, context), call.x.device)
