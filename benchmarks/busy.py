"""How much longer two commands take while every core has something else to do: ratios, measured in one run.

    python benchmarks/busy.py [--json FILE] [--quick]

Quiet and busy runs take turns, so that whatever else the machine does meets both alike. In a busy run one endless loop
a core takes its share of the time. A third kind of run, quiet, lets threads spin as OpenMP does by default, to see what
it costs that threads of the library sleep soon. Times are those of whole commands, from start to end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import record
import torch
from stopwatch import Row

from shortcut_models.system.threads import available_cores

SPINNING = {"GOMP_SPINCOUNT": "300000"}  # what GNU's OpenMP does where there is a core for each thread
KINDS: Mapping[str, tuple[int, Mapping[str, str]]] = {"quiet": (0, {}), "busy": (1, {}), "spinning": (0, SPINNING)}
"""of each kind of run: endless loops a core, and variables of the environment"""
ROUNDS = 5
LARGEST_RATIO, LARGEST_COST = 2.5, 1.05


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep so many processes busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def seconds_of(words: Sequence[object], variables: Mapping[str, str]) -> float:
    """Return the seconds that a command of the library takes."""
    command = [sys.executable, "-m", "shortcut_models.cli", *map(str, words)]
    begin = time.perf_counter()
    subprocess.run(command, env=os.environ | variables, check=True, capture_output=True)
    return time.perf_counter() - begin


def commands(folder: Path, *, quick: bool) -> dict[str, list[object]]:
    """Return the words of what is measured, by name."""
    steps, samples, most = (4, 10, 4) if quick else (120, 500, 128)
    train = ["train", "digits", "--device", "cpu", "--train-steps", steps, "--run"]
    sample = ["sample", folder / "model", "--steps", most, "--num", samples, "--out", folder / "samples.npz"]
    seconds_of([*train, folder / "model"], {})
    return {f"train digits, {steps} steps": train, f"sample, {most} steps, {samples} samples": sample}


def measure(device: torch.device, quick: bool) -> list[Row]:
    """Return the seconds of each command in each kind of run, and their ratios in each round."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for what, words in commands(Path(name), quick=quick).items():
            seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for turn in range(1 if quick else ROUNDS):
                for kind, (loops, variables) in KINDS.items():
                    fresh = [Path(name) / f"{kind}-{turn}"] if words[0] == "train" else []
                    with busy_loops(loops * available_cores()):
                        seconds[kind].append(seconds_of([*words, *fresh], variables))
            rows += [Row(f"{what}, {kind}", "s", values) for kind, values in seconds.items()]
            over = lambda a, b, of=seconds: [x / y for x, y in zip(of[a], of[b], strict=True)]
            rows.append(Row(f"{what}, busy over quiet", "", over("busy", "quiet"), at_most=LARGEST_RATIO))
            rows.append(Row(f"{what}, quiet over spinning", "", over("quiet", "spinning"), at_most=LARGEST_COST))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    record.run("busy.py", "Measure what a busy machine does to the library.", measure, arguments, prefix="busy-")


if __name__ == "__main__":
    main()
