"""The command `shortcut evaluate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..arguments import Parser
from ..errors import UserError
from ..system.torchrun import DAY
from .shared import add_network, add_run, add_sampling, budgets_of, check_out, open_generator, open_model

ABOUT = "measure quality against steps; the most are always taken too, to compare with"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    add_run(parser)
    add_sampling(parser, steps=None, num=1000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    parser.add_argument("--data", metavar="PATH", help="where the images are (default: where they were for training)")
    parser.add_argument(
        "--fid-stats", type=Path, metavar="FILE.npz",
        help="measure FID against these statistics instead, and with features KID and neighbourhoods: see fid-stats",
    )  # fmt: skip
    add_network(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..evaluation.evaluate import evaluate
    from ..evaluation.results import table
    from ..models.run import Run
    from ..recipes.arguments import task_at

    if args.json is not None:
        check_out(args.json, ".json")
    if args.fid_stats is not None:
        by_fid(args)
        return
    model = open_model(args)
    model.precision = args.precision
    if args.data is not None:
        model.task = task_at(model.task, args.data, str(args.run))
    result = evaluate(
        model, budgets_of(args, model), args.num, seed=args.seed, guidance=args.guidance, batch_size=args.batch_size
    )
    print(table(result), flush=True)
    write(result, Run(args.run).evaluation, args)


def write(result: dict[str, Any], own: Path, args: argparse.Namespace, more: dict[str, Any] | None = None) -> None:
    """Write a result to where it was asked for; and to the file of its run, unless that says more.

    more: what goes to the run in its place, with what was found before.
    """
    from ..evaluation.results import describe_better_existing
    from ..system.files import write_atomically

    content = lambda found: (json.dumps(found, indent=2) + "\n").encode()
    kept = describe_better_existing(own, more or result)
    if kept:
        print(f"{own} stays, as it is of {kept}: give --json FILE to write this result")
    elif args.run.is_dir():
        write_atomically(own, content(more or result))
    if args.json is not None:
        write_atomically(args.json, content(result))


def by_fid(args: argparse.Namespace) -> None:
    """FID of a model's samples, by all processes that torchrun started."""
    from ..evaluation.fid import evaluate_fid, report
    from ..evaluation.fid_reference import read_reference
    from ..evaluation.fid_samples import FidSampler
    from ..evaluation.inception import Inception
    from ..evaluation.results import merge_fid_results
    from ..models.run import Run
    from ..system.distributed import process_group
    from ..system.files import cache_folder
    from ..system.machine import keep_freed_memory

    if args.data is not None:
        raise UserError("--data is for measures without FID, which compares with --fid-stats: leave one of them out")
    reference = read_reference(args.fid_stats)
    keep_freed_memory()
    with process_group(args.device, DAY) as processes:
        model = open_generator(args)
        model.precision = args.precision
        budgets, files = budgets_of(args, model), Run(args.run)
        folder = files.fid if args.run.is_dir() else cache_folder("fid")
        network = Inception(args.inception, model.device, sha256=args.inception_sha256, trust=args.trust_file)
        sampler = FidSampler(model, network, args.seed, args.guidance, folder)
        result = evaluate_fid(sampler, reference, budgets, args.num, batch_size=args.batch_size, processes=processes)
        if result is not None:
            print(report(result), flush=True)
            write(result, files.fid_result, args, merge_fid_results(files.fid_result, result))
