"""The command `shortcut collect`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..options import Parser, number, whole_number

ABOUT = "let an expert drive, or drive yourself, and keep the episodes as demonstrations"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("environment", metavar="ENVIRONMENT", help="car-racing, or meta-world/TASK")
    add("--episodes", type=whole_number, required=True, metavar="N", help="episodes to keep in all; >= 1")
    add("--out", type=Path, required=True, metavar="DIR", help="where they go: new, empty, or begun before")
    add("--min-return", type=number, metavar="R", help="drop and count episodes that score less (default: keep all)")
    add("--seed", type=whole_number, default=0, metavar="S", help="of the first; each has the next; >= 0 (default 0)")
    add(
        "--noise", type=number, default=0.0, metavar="X",
        help="add noise to what is carried out, and record what the expert wants: it shows how to get back; "
        "0 to 1, which is about the most it recovers from (default 0)",
    )  # fmt: skip
    add("--human", action="store_true", help="drive yourself, with the keyboard or a gamepad")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import contextlib

    from ..collecting import Settings, collect
    from ..environments import open_environment
    from ..experts import open_expert

    settings = Settings("human" if args.human else "expert", args.seed, args.noise, args.min_return)
    expert = open_expert(args.environment, human=args.human)
    with contextlib.closing(expert), contextlib.closing(open_environment(args.environment)) as environment:
        say = lambda line: print(line, flush=True)
        scores = collect(args.environment, environment, expert, args.out, args.episodes, settings, say)
    print(f"mean return {sum(scores) / len(scores):.1f} over {len(scores)} episodes")
