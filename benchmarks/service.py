"""What a small model costs a service: time to load, memory, and requests a second.

    python benchmarks/service.py [--json FILE] [--quick]

The model is that of the digits recipe, with random weights. Each round is a new process, which imports torch first: the
time and memory of that are not counted. Load times are of the processor, so that a busy machine says little else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import record
import torch
from stopwatch import Row

from shortcut_models import Model
from shortcut_models.recipes.library import RECIPES

ROUNDS = 5
SLOWEST_LOAD = 1.0  # seconds
SERVICE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import psutil
import torch

path, device, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
memory = lambda: psutil.Process().memory_info().rss / 2**20
if device != "cpu":
    torch.zeros(1, device=device)
before, begin, busy = memory(), time.perf_counter(), time.process_time()
import shortcut_models as sm
model = sm.load(path, device=device)
found = {"load": time.process_time() - busy, "load, on the clock": time.perf_counter() - begin}
found["memory of the library and the model"] = memory() - before
request = lambda seed: model.sample(1, steps=1, label=3, seed=seed)
request(0)
found["memory of a request, at most"] = memory() - before - found["memory of the library and the model"]
for threads in (1, 4):
    with ThreadPoolExecutor(threads) as pool:
        begin = time.perf_counter()
        list(pool.map(request, range(count)))
        found[f"requests of 1 sample, {threads} thread{'s' * (threads > 1)}"] = count / (time.perf_counter() - begin)
begin = time.perf_counter()
model.sample(count, steps=1, label=3)
found["samples in one request"] = count / (time.perf_counter() - begin)
print(json.dumps(found))
"""
UNITS = {"load": "s", "memory": "MiB", "requests": "1/s", "samples": "1/s"}


def service(path: Path, device: torch.device, count: int) -> dict[str, float]:
    """Return what a new process measures, by name."""
    words = [sys.executable, "-c", SERVICE, str(path), str(device), str(count)]
    found: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return found


def measure(device: torch.device, quick: bool) -> list[Row]:
    """Return the measures of several new processes."""
    recipe: Any = RECIPES["digits"]
    network = recipe.network.build(recipe.task.shape, recipe.task.conditions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.safetensors"
        Model(network, recipe.objective, recipe.task).save(path)
        service(path, device, 1)  # writes the bytecode of the package, once and for all
        rounds = [service(path, device, 20 if quick else 1000) for _ in range(1 if quick else ROUNDS)]
    rows = []
    for name in rounds[0]:
        bound = SLOWEST_LOAD if name == "load" else None
        rows.append(Row(name, UNITS[name.partition(" ")[0].strip(",")], [one[name] for one in rounds], at_most=bound))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    record.run("service.py", "Measure what a small model costs a service.", measure, arguments, prefix="service-")


if __name__ == "__main__":
    main()
