"""A trial pass through a network before it trains, as a first step that fails would say less."""

import torch
from torch import Tensor

from ..base import Network, Objective, Task
from ..errors import UserError, first_line
from ..networks.wrapped import ROWS, foreign_inside, try_out

_FAULTS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)


def try_network(network: Network, objective: Objective, task: Task, device: torch.device) -> None:
    """Call a network on a few rows before it trains, as the objective will; it stays as it is.

    Raises:
        UserError: it does not take the events and conditions of the task, or returns something else than a velocity.
    """
    foreign = foreign_inside(network)
    if foreign is None:
        check_fits(network, task, device)
    else:
        one_size = objective.conditioned_step_size is not None
        drops = objective.label_dropout > 0
        try_out(foreign, task.shape, device=device, needs_step_size=not one_size, drops_conditions=drops)


def check_fits(network: Network, task: Task, device: torch.device) -> None:
    """Raise UserError where a network does not take the events and conditions of a task, or returns another shape.

    One pass in evaluation mode; the network stays as it is.
    """
    x, times = torch.zeros(ROWS, *task.shape, device=device), torch.zeros(ROWS, device=device)
    cond = {name: kind.example(ROWS, device) for name, kind in task.conditions.items()}
    was_training, buffers = network.training, {name: value.clone() for name, value in network.named_buffers()}
    given = f"x of shape {tuple(x.shape)}" + (f" with {', '.join(sorted(cond))}" if cond else "")
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            found = network.eval()(x, times, times, network.encode(cond))
    except (UserError, torch.OutOfMemoryError):
        raise
    except _FAULTS as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        if "device" in str(error):
            raise UserError(
                f"the network does not run on {device} ({what}): register tensors that it keeps as buffers, so that "
                f"they move with it"
            ) from error
        raise UserError(
            f"the network does not take {given} ({what}): build it for task.shape and task.conditions"
        ) from error
    finally:
        network.train(was_training)
        for name, value in network.named_buffers():
            value.copy_(buffers[name])
    if not isinstance(found, Tensor) or found.shape != x.shape:
        other = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"the network returns {other} for {given}: it must return a velocity, of the shape of x")
