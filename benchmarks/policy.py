"""How long a policy thinks: a table on the terminal, and JSON beside it.

    python benchmarks/policy.py [--json FILE] [--device auto] [--quick]

A policy that sees the last four frames of 84 x 84 pixels and answers with eight actions of three numbers, one
environment at a time. A decision is one pass of the image encoder and as many passes of the action network as there are
steps. What else the machine does only ever adds to a time, so the least of many rounds says most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import record
import torch
from stopwatch import Row, Stopwatch

from shortcut_models.base import Batch, Frames, Network, NetworkConfig
from shortcut_models.networks import ChunkDiTConfig, MLPConfig, UNet1dConfig
from shortcut_models.objectives import FlowMatching, Shortcut

NETWORKS: dict[str, NetworkConfig] = {"mlp": MLPConfig(), "unet1d": UNet1dConfig(), "chunk-dit": ChunkDiTConfig()}
FRAMES, CHUNK = Frames(history=4, channels=3, height=84, width=84), (8, 3)
BATCH, STEPS = 128, 128
GOAL = 16.0
"""milliseconds of a decision in one step, at 60 decisions a second"""


def millions(network: Network) -> float:
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def decision_rows(name: str, network: Network, frames: Frames, watch: Stopwatch, rounds: int) -> list[Row]:
    """One environment's decisions, encoder and action network apart; threads: all there are, and one."""
    device, objective = watch.device, Shortcut(max_steps=STEPS)
    # In this layout a CPU takes less time for one chunk, and for the frames of one environment.
    network = network.eval().to(device, memory_format=torch.channels_last)
    cond = {"image": torch.rand(1, *dataclasses.astuple(frames), device=device) * 2 - 1}
    x, half = torch.randn(1, *CHUNK, device=device), torch.full((1,), 0.5, device=device)
    with torch.no_grad():
        context = network.encode(cond)

    def without_gradient(work: Any) -> Any:
        with torch.no_grad():
            return work()

    works = {
        "encoder": lambda: without_gradient(lambda: network.encode(cond)),
        "one pass": lambda: without_gradient(lambda: network(x, half, half, context)),
        "decision, 1 step": lambda: objective.sample(network, x, cond, 1),
        f"decision, {STEPS} steps": lambda: objective.sample(network, x, cond, STEPS),
    }
    rows = [Row(f"{name}, parameters", "million", [millions(network)])]
    all_threads = torch.get_num_threads()
    for threads in dict.fromkeys((all_threads, 1)):
        torch.set_num_threads(threads)
        seconds = watch.in_turns(works, rounds, warm=1)
        many = "" if device.type != "cpu" else f", {threads} thread{'s' if threads > 1 else ''}"
        for work, values in seconds.items():
            goal = GOAL if work == "decision, 1 step" and threads == all_threads else None
            rows.append(Row(f"{name}, {work}{many}", "ms", [1e3 * value for value in values], at_most=goal))
        one, most = (seconds[f"decision, {steps}"] for steps in ("1 step", f"{STEPS} steps"))
        ratios = [m / o for m, o in zip(most, one, strict=True)]
        rows.append(Row(f"{name}, {STEPS} steps over 1{many}", "", ratios))
    torch.set_num_threads(all_threads)
    return rows


def training_row(name: str, network: Network, frames: Frames, batch: int, watch: Stopwatch, rounds: int) -> Row:
    """Forward and backward of a batch in the precision of training, without the optimiser."""
    device, objective = watch.device, FlowMatching()
    images = torch.rand(batch, *dataclasses.astuple(frames), device=device) * 2 - 1
    examples = Batch(torch.randn(batch, *CHUNK, device=device), {"image": images})
    network = network.train().to(device)

    def forward_and_backward() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = objective.losses(network, network, examples).per_example.mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    seconds = watch.in_turns({"": forward_and_backward}, rounds, warm=1)[""]
    return Row(f"{name}, forward and backward of {batch}", "ms", [1e3 * value for value in seconds])


def measure(device: torch.device, quick: bool) -> list[Row]:
    """All networks in turn."""
    frames = Frames(1, 1, 16, 16) if quick else FRAMES
    rounds, batch, watch = (2, 2, Stopwatch(device, 0.0)) if quick else (8, BATCH, Stopwatch(device, 0.02))
    rows = []
    for name, config in NETWORKS.items():
        network = config.build(CHUNK, {"image": frames})
        rows.append(training_row(name, network, frames, batch, watch, max(rounds // 2, 1)))
        rows += decision_rows(name, network, frames, watch, rounds)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    record.run("policy.py", "Measure how long a policy's decisions take.", measure, arguments, "policy-")


if __name__ == "__main__":
    main()
