"""What a benchmark prints at its end and saves: the measures, and the machine that they are of."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from json import dumps
from pathlib import Path

import torch
from stopwatch import Row, table

import shortcut_models
from shortcut_models.errors import UserError
from shortcut_models.system.machine import keep_freed_memory, machine, processor, torch_device

RESULTS = Path(__file__).parent / "results"

Measure = Callable[[torch.device, bool], Sequence[Row]]
"""(device, whether tiny sizes are enough) -> measures"""


def run(script: str, about: str, measure: Measure, arguments: Sequence[str] | None, prefix: str = "") -> None:
    """Read a benchmark's options, measure, print a table, and save it as JSON.

    script: its file; about: for its help; prefix: of the result's file, before the machine's name.
    """
    parser = argparse.ArgumentParser(description=about)
    where = f"benchmarks/results/{prefix}MACHINE.json"
    parser.add_argument("--json", type=Path, help=f"file for the result (default: {where})")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: auto)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all of it runs")
    args = parser.parse_args(arguments)
    try:
        device = torch_device(args.device)
    except UserError as error:
        parser.error(str(error))
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(0)
    name, begin = processor(device), time.perf_counter()
    facts = machine(device) | {"processor": name, "load_before": os.getloadavg()[0]}
    rows = measure(device, args.quick)
    words = sys.argv[1:] if arguments is None else arguments
    result = {
        "command": shlex.join(["python", f"benchmarks/{script}", *words]),
        "date": datetime.date.today().isoformat(),
        "machine": facts,
        "versions": {"python": platform.python_version(), "shortcut_models": shortcut_models.__version__},
        "seconds": time.perf_counter() - begin,
        "measures": {row.name: row.entry() for row in rows},
    }
    print(f"{name}; {facts['threads']} threads; load {facts['load_before']:.1f} before\n\n{table(rows)}")
    # Tiny sizes say nothing about the machine, and so replace nothing that does.
    machines = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    path = args.json or (None if args.quick else RESULTS / f"{prefix}{machines}.json")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(result, indent=1) + "\n")
        print(f"\n{path}")
