"""One step of training: the optimiser, averages, precision, and what several processes share of it."""

import contextlib
import dataclasses

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ..base import Batch, Dataset, Task
from ..randomness import seed_of
from .optimizers import set_learning_rate, step_unless
from .options import Training
from .sharding import check_gradients, full_tensor, unsynchronised
from .state import State

MAX_BAD_STEPS = 10  # steps in a row without a finite loss and gradient that end a run
HELD_OUT = 2048  # examples at most in the held-out loss


def train_step(state: State, batch: Batch, task: Task, training: Training) -> dict[str, Tensor]:
    """Take one optimiser step on this process's share of a batch, and return figures for the log, still on the device.

    The batch of all processes is cut into parts, `accumulate` for each process, and what is random about a part is a
    function of (seed, step, part): so two processes do what one does in two parts. A loss or gradient that is not
    finite, in any process, leaves the weights as they were.
    """
    device, processes = state.skipped.device, state.processes
    state.enter_stage(training)
    progress = state.step / training.train_steps
    rows, part_rows = len(batch), -(-len(batch) // training.accumulate)
    total, logs = torch.zeros((), device=device), []
    for part, begin in enumerate(range(0, rows, part_rows)):
        torch.manual_seed(seed_of(training.seed, 0, state.step, processes.rank * training.accumulate + part))
        some = encoded(batch[begin : begin + part_rows].to(device), task, training=True)
        with contextlib.nullcontext() if begin + part_rows >= rows else unsynchronised(state.loss):
            with torch.autocast(device.type, torch.bfloat16, enabled=training.bfloat16(device)):
                found = state.loss(state.target_net, some, progress, state.teacher)
            share = found.per_example.sum() / rows
            share.backward()
        total += share.detach()
        logs.append(found.logs)
    check_gradients(state.loss)
    figures = update(state, processes.mean(total), training)
    return figures | {name: torch.cat([log[name].flatten() for log in logs]) for name in logs[0]}


def encoded(batch: Batch, task: Task, *, training: bool) -> Batch:
    """Return a batch as the network sees it; varied at random for training."""
    data = batch.data
    if not batch.is_encoded:
        data = task.augment(task.encode(data)) if training else task.encode(data)
    return dataclasses.replace(batch, data=data, cond=task.preprocess_cond(batch.cond, training=training))


def update(state: State, loss: Tensor, training: Training) -> dict[str, Tensor]:
    """Change the weights and their averages by the gradients, unless these or the loss are not finite."""
    parameters = [p for p in state.network.parameters() if p.grad is not None]
    norm = full_tensor(get_total_norm([p.grad for p in parameters if p.grad is not None]))
    clip_grads_with_norm_(parameters, training.clip, norm)
    bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
    set_learning_rate(state.optimizer, training.learning_rate_at(state.step, state.stages), training)
    step_unless(bad, state.optimizer)
    state.optimizer.zero_grad(set_to_none=True)
    # A count that is high enough to end the run stays, until the trainer looks at it.
    before = state.bad_steps_in_a_row
    state.bad_steps_in_a_row = torch.where(before >= MAX_BAD_STEPS, before, (before + 1) * bad)
    state.skipped = state.skipped + bad
    state.average(training)
    state.step += 1

    nan = torch.full_like(loss, torch.nan)
    return {"loss": torch.where(bad, nan, loss), "gradient_norm": torch.where(bad, nan, norm)}


def heldout_examples(available: int, training: Training) -> int:
    """Return how many examples the held-out loss is of; in a short training, a twentieth of those trained on."""
    return min(available, HELD_OUT, max(training.batch_size, training.train_steps * training.batch_size // 20))


@torch.no_grad()
def heldout_loss(state: State, dataset: Dataset, task: Task, training: Training) -> float:
    """Return the sampling EMA's loss on held-out examples, with the same draws every time, shared by all processes."""
    device, processes = state.skipped.device, state.processes
    rows, total = range(heldout_examples(len(dataset), training)), torch.zeros((), dtype=torch.float64)
    size = training.part_size(processes.world)
    begins = rows[::size]
    progress = max(state.step - 1, 0) / training.train_steps  # as in the step just made: its stage, its teacher
    # Where parts are left over, processes without one repeat another's, as a sharded network needs all of them.
    for place in range(processes.rank, -(-len(begins) // processes.world) * processes.world, processes.world):
        begin = begins[place % len(begins)]
        torch.manual_seed(seed_of(training.seed, 1, begin))
        batch = encoded(dataset.__getitems__(list(rows[begin : begin + size])).to(device), task, training=False)
        with torch.autocast(device.type, torch.bfloat16, enabled=training.bfloat16(device)):
            found = state.objective.losses(state.ema, state.ema, batch, progress=progress, teacher=state.teacher)
        if place < len(begins):
            total += float(found.per_example.sum())
    return float(processes.mean(total)) * processes.world / len(rows)
