"""`check_objective`: what every method owes its network, its trainer and those who sample it."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..base import Batch, Condition, Label, Losses, Network, NetworkConfig, Objective, Task
from ..networks import MLPConfig
from ..randomness import fixed_randomness, seed_all
from ..system.defaults import torch_defaults
from .cost import check_cost, losses_of
from .devices import require_device, second_device
from .exact import check_exact
from .examples import Probe, batch_of, built, other_values, pairs_of, perturbed, sizes_of
from .findings import describe, differ, fail
from .objective_flags import check_dropout, check_flags, check_progress
from .objective_sampling import check_sampling

ROWS = 48
SMALL: dict[str, Any] = {"image_width": 4, "image_stages": 1, "keypoints": 3}


@torch_defaults(gradients=True)
def check_objective(
    objective: Objective, network: Network | NetworkConfig | None = None, task: Task | None = None, *,
    shape: tuple[int, ...] | None = None, conditions: Mapping[str, Condition] | None = None,
    straight_path: bool | None = None, device: str = "cpu",
) -> None:  # fmt: skip
    """Check a method of your own; return None if all is well.

    It is called with random examples and networks with random weights, so the check reads no data, trains nothing,
    and takes seconds. It looks at the losses and their gradients; at what the class says of the method (`requires`,
    `uses_target_net`, `has_schedule`, `label_dropout`); at the cost that it states, by counting the passes; and at
    samples: their steps, guidance, noise and seeds.

    Args:
        objective: the method.
        network: a network, or its configuration; by default a small MLP.
        task: gives the shape and the conditions of examples.
        shape: their shape without a task; by default points in the plane, (2,).
        conditions: their conditions without a task; by default {"label": Label(3)}.
        straight_path: whether the method learns the paths from noise to data that are straight lines, at whatever step
            size. Then its loss must be 0 where the data is one point and the network exact. By default this is tried
            where the class says `learns_velocity`.
        device: where to call it; a second device is simulated in any case.

    Raises:
        UserError: what is wrong, and what to change. What is only doubtful is a warning.
    """
    shape, conditions = sizes_of(task, shape, conditions, default=((2,), {"label": Label(3)}))
    check_value(objective)
    with fixed_randomness():
        chosen = network if network is not None else MLPConfig(width=16, depth=1, condition_width=16, **SMALL)
        net = perturbed(built(chosen, shape, conditions)).to(device)
        batch = batch_of(ROWS, shape, conditions).to(device)
        check_losses(objective, net, batch)
        check_small_batches(objective, net, batch)
        check_flags(objective, net, batch)
        check_progress(objective, net, batch)
        check_conditions(objective, net, batch, conditions)
        check_dropout(objective, net, batch)
        check_cost(objective, shape, conditions)
        check_sampling(objective, net.eval(), batch, conditions, strict=network is None)
        if objective.learns_velocity if straight_path is None else straight_path:
            check_exact(objective, shape, conditions)
        check_second_device(objective, net, batch)


def check_value(objective: Objective) -> None:
    """Check that the method is a frozen dataclass with a number of steps, a cost and stages that make sense."""
    if not isinstance(objective, Objective):
        kind = objective.__name__ if isinstance(objective, type) else type(objective).__name__
        fail(kind, "is not an Objective", "derive it from shortcut_models.Objective, and pass an instance")
    name, params = type(objective).__name__, getattr(type(objective), "__dataclass_params__", None)
    if params is None or not params.frozen:
        fail(name, "is not a frozen dataclass", "put @dataclass(frozen=True) above the class")
    if dataclasses.replace(objective) != objective:  # type: ignore[type-var]
        fail(f"dataclasses.replace({name})", "is not equal to it", "compare by its fields: leave eq=True")
    most = getattr(objective, "max_steps", None)
    if not isinstance(most, int) or most < 1:
        fail(f"{name}.max_steps", f"is {describe(most)}", "give it a field: max_steps: PowerOfTwo = 128")
    if objective.requires not in ("data", "teacher", "pairs"):
        fail(f"{name}.requires", f"is {objective.requires!r}", 'choose "data", "teacher" or "pairs"')
    if not isinstance(objective.stages, int) or objective.stages < 1:
        fail(f"{name}.stages", f"is {describe(objective.stages)}", "give a whole number of stages, at least 1")
    if not math.isfinite(objective.nfe_per_example) or objective.nfe_per_example <= 0:
        fail(f"{name}.nfe_per_example", f"is {objective.nfe_per_example}", "give the evaluations of a row, 3 or more")
    if not 0 <= objective.label_dropout <= 1:
        fail(f"{name}.label_dropout", f"is {objective.label_dropout}", "give a share from 0 to 1")


def check_losses(objective: Objective, net: Network, batch: Batch) -> None:
    """Check what `losses` returns, and that its gradient reaches the network that learns and no other."""
    others = {"target_net": perturbed(net)} | ({"teacher": perturbed(net)} if objective.requires == "teacher" else {})
    before = {name: copy.deepcopy(each.state_dict()) for name, each in others.items()}
    data, mode = batch.data.clone(), net.training
    found = losses_of(objective, net, others["target_net"], batch, teacher=others.get("teacher"))
    check_returned(found, len(batch), batch.data.device)
    if not torch.equal(data, batch.data):
        fail("losses", "changes batch.data in place", "compute new tensors: no +=, no mul_")
    if net.training != mode:
        fail("losses", "switches the network's mode", "leave .train() and .eval() to the trainer")
    found.per_example.mean().backward()
    grads = [(name, each.grad) for name, each in net.named_parameters() if each.grad is not None]
    net.zero_grad(set_to_none=True)
    if not any(grad.any() for _, grad in grads):
        fail("the mean of per_example", "has no gradient in net", "call net outside torch.no_grad, without detach")
    if wrong := [name for name, grad in grads if not grad.isfinite().all()]:
        fail("the gradient of per_example", f"is not finite at {wrong[0]}",
             "square roots and norms have no slope at 0: add a small number inside")  # fmt: skip
    for name, other in others.items():
        if any(each.grad is not None for each in other.parameters()):
            fail("per_example", f"has a gradient in {name}", f"call {name} inside torch.no_grad()")
        if any(not torch.equal(value, before[name][key]) for key, value in other.state_dict().items()):
            fail("losses", f"changes the weights of {name}", "leave them to the trainer")
    with torch.autocast(batch.data.device.type, torch.bfloat16):
        low = losses_of(objective, net, others["target_net"], batch, teacher=others.get("teacher")).per_example
    if low.dtype != torch.float32 or not low.isfinite().all():
        fail("losses under torch.autocast in bfloat16", f"returns per_example {describe(low)}",
             "compute the loss in float32: (prediction.float() - target.float()).square()")  # fmt: skip


def check_returned(found: Any, rows: int, device: torch.device) -> None:
    """Check a value of `losses`: one finite float32 number for each row, and logs without gradient."""
    what = f"losses for {rows} rows"
    if not isinstance(found, Losses):
        fail(what, f"returns {describe(found)}", "return shortcut_models.Losses(per_example, logs)")
    loss = found.per_example
    if not isinstance(loss, Tensor) or loss.shape != (rows,):
        fail(what, f"returns per_example {describe(loss)}, not float32 [{rows}]",
             "return the loss of each row, .flatten(1).mean(1): the trainer takes the mean over rows")  # fmt: skip
    if loss.dtype != torch.float32:
        fail(what, f"returns per_example {describe(loss)}, not float32", "compute the loss in float32: .float()")
    require_device(what, loss, device)
    if not loss.isfinite().all():
        fail(what, "returns a per_example that is not finite", "divide by no 1 - t that reaches 0")
    if not loss.requires_grad:
        fail(what, "returns a per_example without a gradient", "call net outside torch.no_grad, without detach")
    if not isinstance(found.logs, dict):
        fail(what, f"returns logs {describe(found.logs)}", "return a dict of names and tensors")
    for name, value in found.logs.items():
        if not isinstance(value, Tensor) or value.ndim > 1 or len(value.flatten()) > rows:
            fail(what, f"returns the log {name!r} as {describe(value)}", f"give a scalar tensor or one of [{rows}]")
        if value.requires_grad:
            fail(what, f"returns the log {name!r} with a gradient", "detach it, or memory is held until it is written")
        if value.isinf().any():
            fail(what, f"returns the log {name!r} with an infinite number", "use NaN for what does not apply to a row")


def check_small_batches(objective: Objective, net: Network, batch: Batch) -> None:
    """Check that batches of few rows work, that the logs have the same names each time, and that a seed decides all."""
    target, named = perturbed(net), None
    for rows in (1, 2, 3, 4, 5, 5):
        found = losses_of(objective, net, target, batch[:rows], teacher=target)
        check_returned(found, rows, batch.data.device)
        if named not in (None, list(found.logs)):
            fail("losses", f"returns the logs {list(found.logs)} once and {named} before",
                 "return the same names each time, with NaN or an empty tensor where there is nothing")  # fmt: skip
        named = list(found.logs)
    some = []
    for _ in range(2):
        seed_all(7)
        some.append(losses_of(objective, net.eval(), target, batch, teacher=target).per_example)
    net.train()
    if not torch.equal(*some):
        fail("losses", "differs between two calls with the same seed",
             "draw with torch's global generator, which the trainer seeds for each step, and no other")  # fmt: skip


def check_conditions(
    objective: Objective, net: Network, batch: Batch, conditions: Mapping[str, Condition]
) -> None:  # fmt: skip
    """Check that the loss depends on the conditions."""
    kinds = {name: kind for name, kind in conditions.items() if not (isinstance(kind, Label) and kind.count == 1)}
    if not kinds:
        return
    target, net = perturbed(net).eval(), copy.deepcopy(net).eval()
    if not differ(_encoded(net, batch, kinds, other=False), _encoded(net, batch, kinds, other=True)):
        return  # a network that ignores its conditions; `check_network` says so
    changed = Batch(batch.data, {**batch.cond, **{n: other_values(kind, batch.cond[n]) for n, kind in kinds.items()}})
    some = []
    for each in (batch, changed):
        seed_all(7)
        some.append(losses_of(objective, net, target, each, teacher=target).per_example)
    kept = 2 / 3 if objective.requires == "pairs" else 1 - objective.label_dropout
    if float((some[0] != some[1]).float().mean()) < kept / 2:
        fail("losses", f"ignores the conditions {', '.join(kinds)}",
             "pass them on: net(x, t, d, net.encode(batch.cond, drop))")  # fmt: skip


def _encoded(net: Network, batch: Batch, kinds: Mapping[str, Condition], *, other: bool) -> Tensor:
    """Return the network's answer, with other conditions if asked."""
    cond = {n: other_values(kinds[n], v) if other and n in kinds else v for n, v in batch.cond.items()}
    half = torch.full((len(batch),), 0.5, device=batch.data.device)
    with torch.no_grad():
        return net(batch.data, half, half, net.encode(cond, None))


def check_second_device(objective: Objective, net: Network, batch: Batch) -> None:
    """Check that `losses` and `sample` make their tensors on the device of the batch."""
    objective = copy.deepcopy(objective)  # it may keep tensors, and moves them
    away = Probe(copy.deepcopy(net).to("meta"))
    data, cond = batch.data.to("meta"), {name: value.to("meta") for name, value in batch.cond.items()}
    with second_device("losses"):
        some = Batch(data, cond)
        some = pairs_of(some) if objective.requires == "pairs" else some
        teacher = away if objective.requires == "teacher" else None
        found = objective.losses(away, copy.deepcopy(away), some, progress=0.0, teacher=teacher)
        require_device("losses", found.per_example, data.device)
    with second_device("sample"):
        require_device("sample", objective.sample(away, data, cond, 1), data.device)
