"""The command `shortcut import-original`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser, whole_number

ABOUT = "turn a checkpoint of the paper's own code into a run to sample from"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the checkpoint, a pickle; nothing in it is run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's directory, new or empty")
    parser.add_argument(
        "--num-heads", type=whole_number, required=True, metavar="N", help="attention heads, as it was trained with"
    )
    parser.add_argument(
        "--image-size", type=whole_number, required=True, metavar="N", help="side of its images or latents in pixels"
    )
    parser.add_argument("--raw", action="store_true", help="the parameters themselves, not their average")
    parser.add_argument(
        "--objective", default="shortcut", metavar="NAME", help="the method it was trained by (default shortcut)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..original.import_run import import_original

    found = import_original(
        args.file, args.out, num_heads=args.num_heads, image_size=args.image_size, ema=not args.raw,
        objective=args.objective,
    )  # fmt: skip
    print(f"{found}: try `shortcut sample {args.out} --steps 1 4 128 --out samples.npz`")
