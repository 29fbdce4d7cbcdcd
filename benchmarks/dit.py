"""How fast the published DiTs train and sample on this machine, and FID's Inception: a table, and JSON beside it.

    python benchmarks/dit.py [--json FILE] [--device auto] [--quick]

DiT-S/2, B/2 and XL/2 on latents of 4 x 32 x 32, each where memory allows. Everything is compared with a large matrix
product that is measured in the same run, in the precision of the work: FLOPs are those of the model's matrix products,
and a backward pass has two for each of the forward pass.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import record
import torch
from bench import Blank, fresh_state, model_flops, product
from scale import GIB, Sizes, memory
from stopwatch import Row, Stopwatch

from shortcut_models.base import Batch, Network
from shortcut_models.evaluation.inception import AT_ONCE, PACKAGE, SIDE, Inception
from shortcut_models.models.model import Model
from shortcut_models.models.sampler import Precision
from shortcut_models.networks import SIZES, DiTConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.training.options import Training
from shortcut_models.training.step import train_step

SHAPE = (4, 32, 32)
SPARE = 1.3
"""times the memory of weights and averages that a size is to find free, before it is measured"""


@dataclass(frozen=True)
class Load:
    """How much of each work, for a machine of some kind."""

    batches: dict[str, int]
    """examples of a training step, by size; sizes that are not named are left out"""
    many: dict[str, int]
    """samples made at once where throughput is measured, by size"""
    long: tuple[str, ...]
    """sizes whose 128 steps are measured, and not only one"""
    long_many: tuple[str, ...]
    """those of `many` samples"""
    product: int
    """side of the square matrices of the yardstick"""
    rounds: int
    images: int
    """that go through Inception in a round"""


CPU = Load({"s": 16, "b": 8, "xl": 2}, {"s": 64, "b": 64, "xl": 8}, ("s", "b"), (), 4096, rounds=3, images=32)
GPU = Load(
    {"s": 256, "b": 256, "xl": 128},
    dict.fromkeys(SIZES, 64),
    ("s", "b", "xl"),
    ("s", "b", "xl"),
    8192,
    rounds=10,
    images=512,
)
QUICK = Load({"s": 1}, {"s": 2}, (), (), 64, rounds=1, images=1)


def free_memory(device: torch.device) -> float:
    """Return the GiB that are free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    with contextlib.suppress(OSError):  # where the system tells it, with what its file cache would give back
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024 / GIB
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB


def yardstick(load: Load, watch: Stopwatch, dtype: torch.dtype) -> float:
    """FLOPs a second of a large matrix product."""
    seconds = watch.in_turns({"": product(load.product, dtype, watch.device)}, load.rounds)[""]
    return 2 * load.product**3 / statistics.median(seconds)


def share_row(name: str, flops: float, seconds: Sequence[float], peak: float, least: float | None = None) -> Row:
    return Row(f"{name}, over the matrix product", "", [flops / s / peak for s in seconds], at_least=least)


def training_rows(name: str, network: Network, batch: int, load: Load, watch: Stopwatch) -> list[Row]:
    """A flow matching step, and on a GPU the most memory that it took."""
    device, on_gpu = watch.device, watch.device.type == "cuda"
    training = Training(batch_size=batch, device=str(device))
    dtype = torch.bfloat16 if training.bfloat16(device) else torch.float32
    peak, state = yardstick(load, watch, dtype), fresh_state(network, FlowMatching(), training)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    rows = Batch(torch.randn(batch, *SHAPE, device=device))
    work = {"": lambda: train_step(state, rows, Blank(SHAPE), training)}
    seconds = watch.in_turns(work, load.rounds, warm=3 if on_gpu else 1)[""]
    goal = 0.45 if on_gpu and name == "DiT-B/2" else None
    found = [
        Row(f"{name}, training step of {batch}", "ms", [1e3 * s for s in seconds]),
        share_row(f"{name}, training", 3 * model_flops(network, SHAPE, batch), seconds, peak, goal),
    ]
    if on_gpu:
        found.append(Row(f"{name}, most memory", "GiB", [torch.cuda.max_memory_allocated(device) / GIB]))
    return found


def sampling_rows(name: str, network: Network, load: Load, watch: Stopwatch, long: dict[int, bool]) -> list[Row]:
    """One sample alone, and many at once, in float32, and in bfloat16 where the device has it.

    long: whether those of a batch size are also made in 128 steps; only in the faster of the two.
    """
    model, rows = Model(network.eval(), FlowMatching(), Blank(SHAPE)), []
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if Training().bfloat16(watch.device) else ("fp32",)
    for precision in precisions:
        model.precision = precision
        peak = yardstick(load, watch, torch.bfloat16 if precision == "bf16" else torch.float32)
        for batch, more in long.items():
            for steps in (1, 128) if more and precision == precisions[-1] else (1,):
                noise, rounds = torch.randn(batch, *SHAPE), load.rounds if steps == 1 else 1
                work = {"": lambda noise=noise, steps=steps: model.sample_from(noise, steps, decode=False)}
                seconds = watch.in_turns(work, rounds, warm=1 if steps == 1 else 0)[""]
                count = "one sample" if batch == 1 else f"{batch} samples"
                what = f"{name}, {count}, {steps} step{'s' * (steps > 1)}, {precision}"
                alone = Row(what, "ms", [1e3 * s for s in seconds])
                many = Row(what, "1/s", [batch / s for s in seconds])
                flops = steps * model_flops(network, SHAPE, batch)
                rows += [alone if batch == 1 else many, share_row(what, flops, seconds, peak)]
    return rows


def inception_rows(load: Load, watch: Stopwatch) -> list[Row]:
    """Features of small images, their resize included, where the network is installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        print("FID's Inception is not installed (the extra `fid`), and so not measured")
        return []
    network, peak = Inception(device=watch.device), yardstick(load, watch, torch.float32)
    images = np.random.default_rng(0).integers(0, 256, (load.images, 32, 32, 3), dtype=np.uint8)
    seconds = watch.in_turns({"": lambda: network(images)}, load.rounds, warm=1)[""]
    flops = convolution_flops(network) * load.images
    rows = [Row(f"Inception, {AT_ONCE} at once", "1/s", [load.images / s for s in seconds])]
    return [*rows, share_row("Inception", flops, seconds, peak)]


def convolution_flops(inception: Inception) -> int:
    """Of one image."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        inception.network(torch.zeros(1, 3, SIDE, SIDE, device=inception.device))
    return counter.get_total_flops()


def measure(device: torch.device, quick: bool) -> list[Row]:
    """All sizes that fit, the largest last."""
    load = QUICK if quick else CPU if device.type == "cpu" else GPU
    watch, rows = Stopwatch(device, 0.0 if quick else 0.2), []
    free = free_memory(device)  # before all: what one size had, the next can have, though the system does not see it
    for size in load.batches:
        width, depth, _ = SIZES[size]
        needed = SPARE * memory(Sizes(width, depth), 1, fsdp=False)
        if needed > free:
            print(f"DiT-{size.upper()}/2 needs about {needed:.0f} GiB, and {free:.0f} are free: it is not measured")
            continue
        rows += size_rows(size, load, watch, shallow=quick)
    return [*rows, *inception_rows(load, watch)]


def size_rows(size: str, load: Load, watch: Stopwatch, shallow: bool) -> list[Row]:
    """All of one size; it leaves no network behind."""
    name, (width, depth, heads) = f"DiT-{size.upper()}/2", SIZES[size]
    network = DiTConfig(width=width, depth=1 if shallow else depth, heads=heads).build(SHAPE, {}).to(watch.device)
    rows = training_rows(name, network, load.batches[size], load, watch)
    long = {1: size in load.long, load.many[size]: size in load.long_many}
    return rows + sampling_rows(name, network, load, watch, long)


def main(arguments: Sequence[str] | None = None) -> None:
    record.run("dit.py", "Measure how fast the published DiTs train and sample.", measure, arguments, "dit-")


if __name__ == "__main__":
    main()
