"""The command `shortcut evaluate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import UserError
from ..launch import DAY
from ..options import Parser
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
    from .. import evaluation
    from ..recipe_options import task_at
    from ..runs import Run, write_atomically

    if args.json is not None:
        check_out(args.json, ".json")
    if args.fid_stats is not None:
        by_fid(args)
        return
    model = open_model(args)
    if args.data is not None:
        model.task = task_at(model.task, args.data, str(args.run))
    result = evaluation.evaluate(
        model, budgets_of(args, model), args.num, seed=args.seed, guidance=args.guidance, batch_size=args.batch_size
    )
    content = (json.dumps(result, indent=2) + "\n").encode()
    print(evaluation.table(result), flush=True)
    own = Run(args.run).evaluation
    kept = evaluation.better_one(own, result)
    if kept:
        print(f"{own} stays, as it is of {kept}: give --json FILE to write this result")
    for path in [*([own] if args.run.is_dir() and not kept else []), *filter(None, [args.json])]:
        write_atomically(path, content)


def by_fid(args: argparse.Namespace) -> None:
    """FID of a model's samples, by all processes that torchrun started."""
    from ..cache import cache_folder
    from ..distributed import joined
    from ..fid import evaluate_fid, report
    from ..fid_samples import Maker
    from ..fid_stats import read_reference
    from ..inception import Inception
    from ..memory import keep_freed_memory
    from ..runs import Run, write_atomically

    if args.data is not None:
        raise UserError("--data is for measures without FID, which compares with --fid-stats: leave one of them out")
    reference = read_reference(args.fid_stats)
    keep_freed_memory()
    with joined(args.device, DAY) as processes:
        model = open_generator(args)
        budgets, files = budgets_of(args, model), [Run(args.run)] if args.run.is_dir() else []
        folder = files[0].fid if files else cache_folder("fid")
        maker = Maker(model, Inception(args.inception, model.device), args.seed, args.guidance, folder)
        result = evaluate_fid(maker, reference, budgets, args.num, batch_size=args.batch_size, processes=processes)
        if result is not None:
            content = (json.dumps(result, indent=2) + "\n").encode()
            print(report(result), flush=True)
            for path in [*(run.fid_result for run in files), *filter(None, [args.json])]:
                write_atomically(path, content)
