"""Methods and networks that begin with a trained model: a teacher, or weights to start from."""

import dataclasses
import warnings
from typing import Any

import torch

from ..base import Network, Objective, Task
from ..errors import UserError
from ..models.model import Model
from ..networks.layers import OriginalTimeStepEmbedding, TimeStepEmbedding
from ..system.hashing import hash_tensors

_MAY_DIFFER = ("conditions.", "skip.")
"""layers that may be missing or of another shape: tables of conditions, and a path that is silent at first"""


def load_initial_weights(network: Network, objective: Objective, model: Model) -> None:
    """Give a fresh network the weights of a trained model, all those whose names and shapes agree.

    Where the model was always conditioned on the same step size, its network has learned nothing of others. The
    embedding of step sizes is then frozen at that one: at first the network answers for every d as the model does for
    the one it knows, and learns from there to tell them apart. A model that was conditioned on several step sizes
    keeps its embedding.

    Tables of conditions that the model does not have, or has of another size, stay fresh, with a warning that names
    them.

    Raises:
        UserError: the objective does not learn from data; the model's network is of another kind or other sizes.
    """
    check_objective(objective)
    differs = other_size(network, model.network)
    if differs is not None:
        name, other, mine = differs
        raise UserError(f"the network of --init-from has {name} {other}, not {mine}: pass --network.{name} {other}")
    theirs, ours = model.network.state_dict(), network.state_dict()
    taken = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    left = sorted({*theirs, *ours} - set(taken))
    odd = [name for name in left if not name.startswith(_MAY_DIFFER)]
    if odd:
        shapes = " and ".join(str(tuple(some[odd[0]].shape)) for some in (theirs, ours) if odd[0] in some)
        raise UserError(
            f"the network of --init-from is of another kind or size ({odd[0]} of shape {shapes}): use the same one "
            f"with --network"
        )
    fresh = [name for name in left if name in ours]
    if fresh:
        warnings.warn(f"--init-from leaves {', '.join(fresh)} to be learned from the start", stacklevel=2)
    network.load_state_dict(ours | taken)
    if model.objective.conditioned_step_size is not None:
        freeze_step_embedding_at(network, model.objective.conditioned_step_size)


def check_objective(objective: Objective) -> None:
    """Raise UserError where an objective begins with the weights of another model anyway."""
    if objective.requires != "data":
        raise UserError("this objective begins with the weights of its --teacher: leave --init-from out")


def other_size(network: Network, trained: Network) -> tuple[str, Any, Any] | None:
    """Return the first option in which two networks of one kind differ, with the trained one's value first."""
    ours, theirs = (getattr(some, "config", None) for some in (network, trained))
    if type(ours) is not type(theirs) or not dataclasses.is_dataclass(ours):
        return None
    for field in dataclasses.fields(ours):
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        if mine != other and field.name != "checkpointing":
            return field.name.replace("_", "-"), other, mine
    return None


@torch.no_grad()
def freeze_step_embedding_at(network: Network, d: float) -> None:
    """Make a network answer for every step size as it now does for this one."""
    kinds = (TimeStepEmbedding, OriginalTimeStepEmbedding)
    found: list[Any] = [module for module in network.modules() if isinstance(module, kinds)]
    if not found:
        raise UserError("this network has no step-size embedding to freeze: --init-from takes a dit or an mlp")
    for embedding in found:
        last = embedding.level[-1]
        constant = embedding.of_step_size(torch.tensor([d], device=last.weight.device))[0]
        last.weight.zero_()
        last.bias.copy_(constant)


def describe_teacher(teacher: Model) -> dict[str, Any]:
    """Return what a run's config.json says of the model that it learned from."""
    return {"recipe": teacher.recipe, "step": teacher.step, "sha256": hash_tensors(teacher.network.state_dict())}


def init_from_teacher(network: Network, objective: Objective, task: Task, teacher: Model | None) -> None:
    """Check the teacher, and give the network its weights where both are of the same sizes."""
    if objective.requires == "data":
        if teacher is not None:
            raise UserError("this objective learns from data alone: leave --teacher out")
        return
    if teacher is None:
        raise UserError("this objective learns from a trained model: pass one with --teacher")
    if teacher.task.shape != task.shape or dict(teacher.task.conditions) != dict(task.conditions):
        raise UserError(
            f"the teacher makes events of shape {tuple(teacher.task.shape)} with conditions "
            f"{sorted(teacher.task.conditions)}, not {tuple(task.shape)} with {sorted(task.conditions)}: "
            f"choose one that was trained on this task"
        )
    if objective.requires == "teacher":
        _check_velocity(objective, teacher.objective)
    _check_null(objective, teacher)
    if objective.requires == "pairs" and objective.pair_steps > teacher.objective.max_steps:
        raise UserError(
            f"the teacher takes at most {teacher.objective.max_steps} steps: pass fewer --objective.pair-steps"
        )
    shapes = lambda some: {name: value.shape for name, value in some.state_dict().items()}
    other = other_size(network, teacher.network)
    if other is None and shapes(network) == shapes(teacher.network):
        network.load_state_dict(teacher.network.state_dict())
    elif objective.stages > 1:
        which = "has other sizes" if other is None else "has {} {}, not {}".format(*other)
        raise UserError(f"the teacher's network {which}, and the student takes its place: use the same")


def _check_velocity(objective: Objective, trained_by: Objective) -> None:
    """Raise UserError where a model does not give the velocity that a method asks it for."""
    if not trained_by.learns_velocity:
        raise UserError(
            "the teacher of this objective must be trained with --objective flow (or reflow): choose another"
        )
    theirs, ours = (method.conditioned_step_size or 0.0 for method in (trained_by, objective))
    if theirs != ours:
        raise UserError(
            f"the teacher was trained with step size {theirs:g}: pass --objective.conditioned-step-size {theirs:g}"
        )


def _check_null(objective: Objective, teacher: Model) -> None:
    """Raise UserError where a model that was never trained without its condition is asked to do without."""
    if not teacher.task.conditions or teacher.objective.label_dropout:
        return
    for name in ("guidance", "pair_guidance"):
        if getattr(objective, name) != 1:
            raise UserError(
                f"the teacher was trained with label-dropout 0, and cannot be guided: leave "
                f"--objective.{name.replace('_', '-')} out, or choose another"
            )
    if dropout_of(objective, teacher.task):
        raise UserError(
            "the teacher was trained with label-dropout 0, and knows nothing without a condition: pass "
            "--objective.label-dropout 0, or choose another"
        )


def dropout_of(objective: Objective, task: Task) -> float:
    """Return the share of examples that lose their condition; 0 where there is none to lose."""
    return objective.label_dropout if task.conditions else 0.0
