"""How fast this machine trains and samples: a table on the terminal, and JSON beside it.

    python benchmarks/bench.py [--json FILE] [--device auto] [--quick]

What is compared is measured in turns, so that whatever else the machine does meets all alike; the median of the
rounds counts, with the least and the most beside it. FLOPs are those of the model's matrix products.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import record
import torch
from PIL import Image
from stopwatch import Row, Stopwatch, Work
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from shortcut_models.base import Batch, Dataset, Network, Objective, Task, X
from shortcut_models.models.model import Model
from shortcut_models.networks import DiTConfig
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.recipes.library import RECIPES
from shortcut_models.system.machine import torch_device
from shortcut_models.training.batches import batches
from shortcut_models.training.options import Training
from shortcut_models.training.state import State
from shortcut_models.training.step import train_step


@dataclass(frozen=True)
class Sizes:
    """What is measured, and for how long."""

    network: DiTConfig
    shape: tuple[int, ...]
    batch: int
    """examples of a training step"""
    samples: int
    """samples made at once where throughput is measured"""
    product: int
    """side of the square matrices whose product is the yardstick"""
    rounds: int
    seconds: float
    """least time of one measurement"""


CPU = Sizes(DiTConfig(width=384, depth=6, heads=6), (3, 16, 16), 64, 64, 4096, rounds=9, seconds=0.2)
GPU = Sizes(DiTConfig(width=768, depth=12, heads=12), (4, 32, 32), 128, 64, 8192, rounds=15, seconds=0.3)
QUICK = Sizes(DiTConfig(width=32, depth=1, heads=2), (3, 8, 8), 8, 4, 128, rounds=2, seconds=0.0)


@dataclass(frozen=True)
class Blank(Task):
    """Encoded examples of some shape and nothing more: speed does not depend on what they show."""

    event: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.event

    def dataset(self, split: str) -> Dataset:
        raise NotImplementedError

    def encode(self, raw: Tensor) -> X:
        return raw

    def decode(self, x: X) -> np.ndarray:
        return x.cpu().numpy()

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        raise NotImplementedError

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        raise NotImplementedError


def model_flops(network: Network, shape: tuple[int, ...], rows: int) -> int:
    """FLOPs of the matrix products of one forward pass over `rows` examples, those of attention included."""
    device = next(network.parameters()).device
    one = torch.zeros(1, device=device)
    # Fused attention is counted on some devices only, plain products on all.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.forward(torch.zeros(1, *shape, device=device), one, one)
    return rows * counter.get_total_flops()


def product(size: int, dtype: torch.dtype, device: torch.device) -> Work:
    """The product of two square matrices."""
    a, b, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
    return lambda: torch.mm(a, b, out=out)


def fresh_state(network: Network, objective: Objective, training: Training) -> State:
    """A copy of the network with its optimiser, compiled where the trainer would."""
    device = torch_device(training.device)
    state = State.new(copy.deepcopy(network), objective, training, device)
    if device.type == "cuda":
        state.network.compile()
        state.teacher.compile()
    return state


def training_rows(sizes: Sizes, watch: Stopwatch) -> list[Row]:
    """Training steps of a DiT, against a large matrix product and against each other."""
    device, task, objective = watch.device, Blank(sizes.shape), Shortcut()
    training = Training(batch_size=sizes.batch, device=str(device))
    network = sizes.network.build(sizes.shape, {}).to(device)
    batch = Batch(torch.randn(sizes.batch, *sizes.shape, device=device))
    flow, shortcut = (fresh_state(network, each, training) for each in (FlowMatching(), objective))
    dtype = torch.bfloat16 if training.bfloat16(device) else torch.float32
    seconds = watch.in_turns(
        {
            "product": product(sizes.product, dtype, device),
            "flow": lambda: train_step(flow, batch, task, training),
            "shortcut": lambda: train_step(shortcut, batch, task, training),
        },
        sizes.rounds,
    )
    exact = watch.in_turns({"product": product(sizes.product, torch.float32, device)}, min(3, sizes.rounds))
    # A backward pass has two products for each of the forward pass.
    product_flops, flops = 2 * sizes.product**3, 3 * model_flops(network, sizes.shape, sizes.batch)
    theory = 1 + objective.bootstrap_fraction * 2 / 3
    products, flows = (
        [work / s / 1e12 for s in seconds[name]] for name, work in (("product", product_flops), ("flow", flops))
    )
    costs = [mine / other for mine, other in zip(seconds["shortcut"], seconds["flow"], strict=True)]
    return [
        Row("matrix product, float32", "TFLOP/s", [product_flops / s / 1e12 for s in exact["product"]]),
        Row(f"matrix product, {str(dtype).removeprefix('torch.')}", "TFLOP/s", products),
        Row("DiT, flow matching step", "ms", [1e3 * s for s in seconds["flow"]]),
        Row("DiT, shortcut step", "ms", [1e3 * s for s in seconds["shortcut"]]),
        Row("DiT, flow matching, model FLOPs", "TFLOP/s", flows),
        Row(
            "the same over the matrix product", "", [f / p for f, p in zip(flows, products, strict=True)], at_least=0.5
        ),
        Row("shortcut step over flow matching step", "", costs),
        Row(f"the same over its theory, {theory:.4f}", "", [cost / theory for cost in costs], at_most=1.05),
    ]


def sampling_rows(sizes: Sizes, watch: Stopwatch) -> list[Row]:
    """How long samples of the same DiT take: one alone, and many at once."""
    objective, task = Shortcut(), Blank(sizes.shape)
    network = sizes.network.build(sizes.shape, {}).to(watch.device)
    model, rows = Model(network, objective, task), []

    def sampling(batch: int, steps: int, rounds: int, warm: int) -> list[float]:
        noise = torch.randn(batch, *sizes.shape)
        return watch.in_turns({"": lambda: model.sample_from(noise, steps, decode=False)}, rounds, warm)[""]

    most = objective.max_steps
    for batch, rounds in ((1, min(3, sizes.rounds)), (sizes.samples, 1)):
        # Many steps warm themselves up, and are a mean of their own.
        one, many = sampling(batch, 1, sizes.rounds, 3), sampling(batch, most, rounds, 0)
        for steps, seconds in (("1 step", one), (f"{most} steps", many)):
            if batch == 1:
                rows.append(Row(f"sample alone, {steps}", "ms", [1e3 * s for s in seconds]))
            else:
                rows.append(Row(f"samples by {batch}, {steps}", "1/s", [batch / s for s in seconds]))
        ratios = [s / statistics.median(one) for s in many]
        rows.append(Row(f"time of {most} steps over that of 1, by {batch}", "", ratios))
    return rows


def digits_rows(sizes: Sizes, watch: Stopwatch) -> list[Row]:
    """Training steps of the recipe of the demo, its data read as usual."""
    recipe = RECIPES["digits"]
    task, training = recipe.task.resolve(), dataclasses.replace(recipe.training, device=str(watch.device))
    state = fresh_state(recipe.network.build(task.shape, task.conditions), recipe.objective, training)
    stream = iter(batches(task.dataset("train"), training.batch_size, 0, 0, 10**6, 0))
    step = lambda: train_step(state, next(stream), task, training)
    seconds = watch.in_turns({"": step}, sizes.rounds)[""]
    whole = [s * training.train_steps / 60 for s in seconds]
    return [
        Row("recipe digits, training", "steps/s", [1 / s for s in seconds]),
        Row(f"recipe digits, its {training.train_steps} steps", "min", whole),
    ]


def measure(device: torch.device, quick: bool) -> list[Row]:
    """Training and sampling, with the sizes for the device."""
    sizes = QUICK if quick else CPU if device.type == "cpu" else GPU
    watch = Stopwatch(device, sizes.seconds)
    return [row for part in (training_rows, sampling_rows, digits_rows) for row in part(sizes, watch)]


def main(arguments: Sequence[str] | None = None) -> None:
    record.run("bench.py", "Measure how fast this machine trains and samples.", measure, arguments)


if __name__ == "__main__":
    main()
