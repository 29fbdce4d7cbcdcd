"""The command `shortcut sample`."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from ..arguments import Parser, whole_number
from .shared import add_run, add_sampling, budgets_of, check_out, open_generator

ABOUT = "make samples at one or more budgets of steps"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    add_run(parser)
    add_sampling(parser, steps=[1], num=64)
    parser.add_argument("--label", type=whole_number, metavar="N", help="one class for all (default: all in turn)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="arrays steps_1, ..., and labels")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_out(args.out, ".npz")
    model = open_generator(args)
    model.precision = args.precision
    budgets = budgets_of(args, model)
    model.check_request(args.num, args.seed, args.guidance, args.batch_size, decoded=2 * len(budgets))
    labels = model.labels(args.num, args.label)
    import numpy as np

    from ..drawing.png import save_png
    from ..drawing.sheets import stack
    from ..system.files import write_atomically
    from ..system.progress import progress
    from ..text import format_steps

    arrays: dict[str, Any] = {}
    with progress(len(budgets), "step count", disable=None) as bar:
        for steps in budgets:
            arrays[f"steps_{steps}"] = model.sample(
                args.num, steps=steps, label=args.label, seed=args.seed, guidance=args.guidance,
                batch_size=args.batch_size,
            )  # fmt: skip
            bar.update()
    num, columns = model.task.preview_grid
    drawn = [model.task.draw(made[: 4 * num], columns) for made in arrays.values()]
    content = io.BytesIO()
    np.savez_compressed(content, labels=labels, **arrays)
    write_atomically(args.out, content.getvalue())
    save_png(args.out.with_suffix(".png"), stack([format_steps(steps) for steps in budgets], drawn))
    print(f"{args.out} and {args.out.with_suffix('.png')}")
