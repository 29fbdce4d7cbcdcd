"""Quality against steps: the same noises in every number of steps, judged by the task."""

import datetime
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..base import Task, X
from ..models.model import Model
from ..system.defaults import torch_defaults
from ..system.machine import machine
from ..system.progress import progress

REFERENCE = 2048  # held-out examples that the data's standard deviation is computed from


def data_deviation(task: Task, device: torch.device | str = "cpu") -> float:
    """Return the standard deviation of a coordinate of held-out data, about its mean, in the network's units."""
    dataset = task.dataset("test")
    raw = dataset.__getitems__(list(range(min(len(dataset), REFERENCE)))).data.to(device)
    with torch.random.fork_rng([raw.device] if raw.device.type == "cuda" else []):
        torch.manual_seed(0)  # the task may draw the network's input, as for latents
        x = task.encode(raw)
    return float((x - x.mean(0)).square().mean().sqrt())


@torch_defaults()
def evaluate(
    model: Model,
    step_counts: Sequence[int] | int,
    num: int,
    *,
    seed: int = 0,
    guidance: float = 1.0,
    batch_size: int = 250,
    quiet: bool = False,
) -> dict[str, Any]:
    """Judge `num` samples at one or more numbers of steps, all from the same noises and with the classes in turn.

    Returns a JSON-able dict; under "steps", for each number of steps, the task's metrics and:

    - distance_to_finest: mean distance between samples from the same noise in this many steps and in the most, over
      the standard deviation of a coordinate of the data. It grows with the square root of the number of coordinates,
      so it compares numbers of steps, and runs of one shape. Left out if held-out data does not vary;
    - seconds: time spent generating.

    Raises UserError if a number is out of its range.
    """
    counts: list[int] = np.atleast_1d(step_counts).tolist()
    model.check_request(num, seed, guidance, batch_size, encoded=len(counts) + 2)
    labels = model.labels(num)
    most = model.objective.max_steps
    made = sorted({*counts, most})
    deviation = data_deviation(model.task, model.device)
    ends: dict[int, X] = {}
    seconds: dict[int, float] = {}
    with progress(num * sum(made), "pass", quiet=quiet, unit_scale=True) as bar:
        for steps in made:
            begin, parts = time.perf_counter(), []
            for noise, cond in model.batches(num, seed, labels, batch_size):
                parts.append(model.sample_from(noise, steps, cond, guidance, decode=False).cpu())
                bar.update(len(noise) * steps)
            ends[steps], seconds[steps] = torch.cat(parts), time.perf_counter() - begin
    results = {}
    for steps in sorted(set(counts)):
        measures = model.task.evaluate(model.task.decode(ends[steps].to(model.device)), labels)
        if deviation:
            measures["distance_to_finest"] = float((ends[steps] - ends[most]).flatten(1).norm(dim=1).mean()) / deviation
        results[str(steps)] = measures | {"seconds": seconds[steps]}
    return circumstances(model, num, seed, guidance) | {"steps": results}


def circumstances(model: Model, num: int, seed: int, guidance: float) -> dict[str, Any]:
    """Return what a result says of the model, the samples and the machine, besides what was measured."""
    return {
        "recipe": model.recipe,
        "step": model.step,
        "num": num,
        "seed": seed,
        "guidance": guidance,
        "precision": model.precision,
        "date": datetime.date.today().isoformat(),
        "machine": machine(model.device),
    }
