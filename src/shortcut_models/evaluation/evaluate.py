"""Quality against steps: the same noises through every budget, judged by the task."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .base import Task, X
from .errors import UserError
from .markup import counted
from .model import Model
from .randomness import sample_noise

REFERENCE = 2048
"""held-out examples from which the data's standard deviation is taken"""
MODEL = ("step", "weights", "autoencoder")
"""what a result says of the model behind it"""


def machine(device: torch.device) -> dict[str, Any]:
    """What a figure was measured on."""
    facts = {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return facts | {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def processor(device: torch.device) -> str:
    """The name of the GPU, or that of the processor where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = None
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def data_deviation(task: Task, device: torch.device | str = "cpu") -> float:
    """The standard deviation of a coordinate of held-out data, about its mean, as the network sees it.

    Where the task draws what the network sees, as latents are, the draws are always the same.
    """
    dataset = task.dataset("test")
    raw = dataset.__getitems__(list(range(min(len(dataset), REFERENCE)))).data.to(device)
    with torch.random.fork_rng([raw.device] if raw.device.type == "cuda" else []):
        torch.manual_seed(0)
        x = task.encode(raw)
    return float((x - x.mean(0)).square().mean().sqrt())


def evaluate(
    model: Model,
    budgets: Sequence[int],
    num: int,
    *,
    seed: int = 0,
    guidance: float = 1.0,
    batch_size: int = 250,
    quiet: bool = False,
) -> dict[str, Any]:
    """Judge `num` samples at each budget, all from the same noises and with the classes in turn.

    Returns a JSON-able dict; under "steps", for each budget, the task's measures and:

    - distance_to_finest: mean distance between the ends of the same noise in this many steps and in the most,
      over the standard deviation of a coordinate of the data. It grows with the square root of the number of
      coordinates, so it compares budgets and runs of one event shape. Left out where held-out data does not vary;
    - seconds: time spent generating.

    Raises:
        UserError: a number out of its range.
    """
    model.check_request(num, seed, guidance, batch_size, encoded=len(budgets) + 2)
    labels = model.labels(num)
    most = model.objective.max_steps
    wanted = sorted(set(budgets))
    passes = sum(wanted) + (0 if most in wanted else most)
    deviation = data_deviation(model.task, model.device)
    ends: dict[int, X] = {}
    seconds: dict[int, float] = {}
    with tqdm(total=num * passes, unit="pass", unit_scale=True, disable=quiet, dynamic_ncols=True) as bar:
        for steps in sorted({*wanted, most}):
            begin, parts = time.perf_counter(), []
            for start in range(0, num, batch_size):
                rows = range(start, min(start + batch_size, num))
                noise = sample_noise(seed, rows, model.task.shape)
                cond = model.conditions(rows, labels[rows.start : rows.stop])
                parts.append(model.flow(noise, steps, cond, guidance).cpu())
                bar.update(len(rows) * steps)
            ends[steps], seconds[steps] = torch.cat(parts), time.perf_counter() - begin
    results = {}
    for steps in wanted:
        measures = model.task.evaluate(model.task.decode(ends[steps].to(model.device)), labels)
        if deviation:
            measures["distance_to_finest"] = float((ends[steps] - ends[most]).flatten(1).norm(dim=1).mean()) / deviation
        results[str(steps)] = measures | {"seconds": seconds[steps]}
    return {
        "recipe": model.recipe,
        "step": model.step,
        "num": num,
        "seed": seed,
        "guidance": guidance,
        "precision": model.precision,
        "date": datetime.date.today().isoformat(),
        "machine": machine(model.device),
        "steps": results,
    }


def read_result(path: Path, run: Path) -> dict[str, Any] | None:
    """A result that `shortcut evaluate` wrote for a run, if it did. Raises UserError where it is damaged."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        rows = found["steps"].values()
        facts = {"num", "seed", "guidance", "step", "machine"}
        if rows and all("seconds" in row for row in rows) and set(found) >= facts:
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{path} is damaged: run `shortcut evaluate {run}` again")


def better_one(path: Path, result: dict[str, Any]) -> str:
    """What a file holds, in words, where that is of the same model and says more than a new result; else ""."""
    try:
        found = json.loads(path.read_bytes())
        same, num, budgets = _agree(found, result, MODEL), int(found["num"]), set(found["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    more = num > result["num"] or (num == result["num"] and budgets > set(result["steps"]))
    return f"{num:,} samples at {len(budgets)} numbers of steps" if more and same else ""


def together(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """A new result of FID with the rows that a file holds besides, where they compare: they are of the same model, the
    same noises, the same precision and the same reference. Guidance may differ, as it is said of each row.
    """
    try:
        found = json.loads(path.read_bytes())
        same = _agree(found, result, (*MODEL, "num", "seed", "reference"))
        if not same or precision_of(found) != precision_of(result):
            return result
        rows = found["steps"] | result["steps"]
        old = [check for check in found["checks"] if not set(check["steps"]) <= set(map(int, result["steps"]))]
        one = len({row["guidance"] for row in rows.values()}) == 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return result
    guidance = result["guidance"] if one else None
    return result | {"guidance": guidance, "steps": rows, "checks": old + result["checks"]}


def _agree(found: dict[str, Any], result: dict[str, Any], names: Sequence[str]) -> bool:
    return all(found.get(name) == result.get(name) for name in names)


def precision_of(result: Mapping[str, Any]) -> str:
    """The arithmetic behind a result; one that does not say so is from when there was only one."""
    return str(result.get("precision", "fp32"))


def guidance_of(result: dict[str, Any]) -> dict[int, float]:
    """The guidance behind each row of a result, by its number of steps."""
    return {int(steps): row.get("guidance", result["guidance"]) for steps, row in result["steps"].items()}


def guided(weights: Mapping[int, float]) -> str:
    """Guidance of each number of steps, in words; "" where there is none."""
    found = set(weights.values())
    if len(found) == 1:
        return f"guidance {found.pop():g}" if found != {1} else ""
    parts = []
    for weight in sorted(found - {1}):
        *some, last = sorted(n for n in weights if weights[n] == weight)
        parts.append(f"{weight:g} in {' and '.join([*map(str, some), counted(last)])}")
    return "guidance " + ", ".join(parts)


def table(result: dict[str, Any]) -> str:
    """The result of `evaluate` as aligned text, a row a budget."""
    rows = result["steps"]
    names = list(next(iter(rows.values())))
    lines = [["steps", *names], *([steps, *(f"{row[name]:.4g}" for name in names)] for steps, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
