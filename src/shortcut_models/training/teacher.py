"""What a method asks of the trained model that it learns from."""

from typing import Any

from ..base import Network, Objective, Task
from ..errors import UserError
from ..models.model import Model
from ..system.hashing import hash_tensors
from .warm_start import other_size


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
        raise UserError(f"the teacher's network {which}, but the student replaces it: use the same sizes")


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
            "the teacher was trained with label-dropout 0, and cannot predict without a condition: pass "
            "--objective.label-dropout 0, or choose another"
        )


def dropout_of(objective: Objective, task: Task) -> float:
    """Return the share of examples that lose their condition; 0 where there is none to lose."""
    return objective.label_dropout if task.conditions else 0.0
