"""The command `shortcut fid-stats`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser, whole_number
from ..errors import UserError
from .shared import add_network, check_out

ABOUT = "make the reference statistics of FID from images"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("--data", required=True, metavar="PATH", help="a folder, tar shards, .npz or idx files")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="arrays mu, sigma, and more")
    parser.add_argument(
        "--split", choices=("train", "test", "all"), default="train",
        help="which of the images, held out as for training (default train)",
    )  # fmt: skip
    parser.add_argument(
        "--task.image-size", dest="image_size", type=whole_number, metavar="N",
        help="side in pixels, as that of the run (default: the images' own)",
    )  # fmt: skip
    parser.add_argument(
        "--task.channels", dest="channels", type=whole_number, choices=(1, 3),
        help="1 is grey, 3 is colour (default: what the data has)",
    )  # fmt: skip
    parser.add_argument(
        "--task.skip-damaged", dest="skip_damaged", action="store_true", help="leave out images that cannot be read"
    )
    parser.add_argument(
        "--keep", type=whole_number, default=10_000, metavar="N",
        help="images whose features are kept too, for KID and neighbourhoods; >= 0 (default 10000)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    add_network(parser)


def run(args: argparse.Namespace) -> None:
    """Make reference statistics."""
    from ..evaluation.fid_reference import measure
    from ..evaluation.inception import Inception
    from ..system.machine import keep_freed_memory, torch_device
    from ..tasks import Images

    check_out(args.out, ".npz")
    if args.keep < 0:
        raise UserError(f"--keep must be a whole number >= 0, not {args.keep}")
    device = torch_device(args.device)
    task = Images(args.data, args.image_size, args.channels, 0, skip_damaged=args.skip_damaged).resolve()
    keep_freed_memory()
    network = Inception(args.inception, device)
    found = measure(task, args.split, network, keep=args.keep)
    found.save(args.out)
    print(f"{args.out}: {found.count:,} images, {network.size:,} features")
