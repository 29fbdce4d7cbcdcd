"""Quality against steps: the same noises in every number of steps, judged by the task, beside real data and chance."""

import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..base import Task, X
from ..models.model import Model
from ..path import check_num_steps
from ..randomness import sample_noise
from ..system.defaults import torch_defaults
from ..system.machine import machine
from ..system.progress import progress
from .results import verdict

CHANCE = 1000  # samples at most that the metrics of what was not learned are computed from
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
    on_row: Callable[[str, dict[str, float]], None] = lambda name, row: None,
) -> dict[str, Any]:
    """Judge `num` samples at one or more numbers of steps, all from the same noises and with the classes in turn.

    Returns a JSON-able dict; under "steps", for each number of steps, the task's metrics and:

    - distance_to_finest: mean distance between samples from the same noise in this many steps and in the most, over
      the standard deviation of a coordinate of the data. It grows with the square root of the number of coordinates,
      so it compares numbers of steps, and runs of one shape. Left out if the model's most steps are not among those
      asked for, or held-out data does not vary;
    - seconds: time spent generating.

    Under "real" and "chance" it has the task's metrics of real examples, and of what was not learned, and under
    "verdict" where the samples are between these.

    on_row: called with each row as soon as it is measured, by its name ("chance", "real", or a number of steps), still
    without distance_to_finest. Raises UserError if a number is out of its range.
    """
    counts: list[int] = np.unique(step_counts).tolist()
    model.check_request(num, seed, guidance, batch_size, encoded=len(counts) + 2)
    labels, most = model.labels(num), model.objective.max_steps
    for steps in counts:
        check_num_steps(steps, most)
    deviation = data_deviation(model.task, model.device) if most in counts else 0.0
    found = references(model, num, seed, labels)
    for name, row in found.items():
        on_row(name, row)
    results: dict[str, dict[str, float]] = {}
    ends: dict[int, X] = {}
    with progress(num * sum(counts), "pass", quiet=quiet, unit_scale=True) as bar:
        for steps in counts:
            begin, parts = time.perf_counter(), []
            for noise, cond in model.batches(num, seed, labels, batch_size):
                parts.append(model.sample_from(noise, steps, cond, guidance, decode=False).cpu())
                bar.update(len(noise) * steps)
            end, seconds = torch.cat(parts), time.perf_counter() - begin
            measures = model.task.evaluate(model.task.decode(end.to(model.device)), labels)
            results[str(steps)] = measures | {"seconds": seconds}
            on_row(str(steps), results[str(steps)])
            ends |= {steps: end} if deviation else {}
    for steps, end in ends.items():
        distance = float((end - ends[most]).flatten(1).norm(dim=1).mean()) / deviation
        results[str(steps)] = results[str(steps)] | {"distance_to_finest": distance}
    result = circumstances(model, num, seed, guidance) | found | {"steps": results}
    return result | {"verdict": verdict(result)}


def references(model: Model, num: int, seed: int, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the task's metrics of what was not learned ("chance"), and of real examples ("real")."""
    task, few = model.task, min(num, CHANCE)
    noise = sample_noise(seed, range(few), task.shape).to(model.device)
    with torch.random.fork_rng([noise.device] if noise.device.type == "cuda" else []):
        torch.manual_seed(0)  # the task may draw the network's input, as for latents
        return {"chance": task.evaluate_chance(noise, labels[:few]), "real": task.evaluate_real(num)}


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
