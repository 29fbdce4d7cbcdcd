"""The command `shortcut rollout`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..arguments import Parser, whole_number
from ..errors import UserError
from .race import watch
from .shared import add_policy, budgets_of, check_least, check_out, check_seed, check_video_out, device_of

ABOUT = "judge a policy: play episodes at one or more numbers of steps, in worlds that no demonstration came from"
MOST_WORKERS = 256


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a policy's run directory or model.safetensors file")
    add_policy(parser, "run's")
    parser.add_argument(
        "--steps", type=whole_number, nargs="+", default=[1], metavar="N",
        help="sampling steps for each decision, any of 1 to the run's most (default 1)",
    )  # fmt: skip
    number: Any = {"type": whole_number, "metavar": "N"}
    parser.add_argument("--episodes", default=100, help="at each number of steps; >= 1 (default 100)", **number)
    parser.add_argument(
        "--seed", default=1_000_000, **number,
        help="of the first episode; those that the run learned from are passed over; 0 to 2147483647 (default 1000000)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", default=1, help="processes, each with its share of the cores; >= 1 (default 1)", **number
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table and every episode here")
    parser.add_argument(
        "--video",
        type=Path,
        metavar="FILE",
        help="the first episode at all numbers of steps; .mp4 or .gif",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_least(args, episodes=1, workers=1)
    check_seed(args)
    if args.workers > MOST_WORKERS:
        raise UserError(f"--workers must be <= {MOST_WORKERS}, not {args.workers}")
    if args.json is not None:
        check_out(args.json, ".json")
    if args.video is not None:
        check_video_out(args.video)
    from ..policies.rollout import PolicyRun, fresh_seeds, roll_out
    from ..policies.table import result, table
    from ..system.files import write_json

    opened = PolicyRun.open(args.run, device_of(args), args.environment, args.execute)
    steps = budgets_of(args, opened.policy.model)
    seeds = fresh_seeds(args.episodes, args.seed, opened.policy.task.seeds)
    found = result(opened, steps, roll_out(opened.factory, opened.records, steps, seeds, workers=args.workers))
    print(table(found), flush=True)
    if args.json is not None:
        write_json(args.json, found)
    if args.video is not None:
        watch(args.video, [(opened, n) for n in steps], seeds[0])
