"""Networks that begin with the weights of a trained model."""

import dataclasses
import warnings
from typing import Any

import torch

from ..base import Network, Objective
from ..errors import UserError
from ..models.model import Model
from ..networks.layers import OriginalTimeStepEmbedding, TimeStepEmbedding

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
