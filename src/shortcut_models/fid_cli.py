"""The commands of FID: `shortcut fid-stats`, and `shortcut evaluate --fid-stats`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .errors import UserError
from .launch import DAY
from .options import whole_number

ABOUT = "make the reference statistics of FID from images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `fid-stats`."""
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


def add_to_evaluate(parser: argparse.ArgumentParser) -> None:
    """The options of `evaluate` that ask for FID."""
    parser.add_argument(
        "--fid-stats", type=Path, metavar="FILE.npz",
        help="measure FID against these statistics instead, and with features KID and neighbourhoods: see fid-stats",
    )  # fmt: skip
    add_network(parser)


def add_network(parser: argparse.ArgumentParser) -> None:
    """The option that names FID's network."""
    parser.add_argument(
        "--inception", type=Path, metavar="FILE",
        help="TorchScript of the Inception network of 2015 (default: that of the extra `fid`)",
    )  # fmt: skip


def fid_stats(args: argparse.Namespace) -> None:
    """Make reference statistics."""
    from .cli import check_out
    from .fid_stats import measure
    from .inception import Inception
    from .memory import keep_freed_memory
    from .tasks import Images
    from .training import Training

    check_out(args.out, ".npz")
    if args.keep < 0:
        raise UserError(f"--keep must be a whole number >= 0, not {args.keep}")
    device = Training(device=args.device).torch_device()
    task = Images(args.data, args.image_size, args.channels, 0, skip_damaged=args.skip_damaged).resolve()
    keep_freed_memory()
    network = Inception(args.inception, device)
    found = measure(task, args.split, network, keep=args.keep)
    found.save(args.out)
    print(f"{args.out}: {found.count:,} images, {network.size:,} features")


def evaluate(args: argparse.Namespace) -> None:
    """FID of a model's samples, by all processes that torchrun started."""
    from .cli import budgets_of, open_model
    from .distributed import joined
    from .fid import evaluate_fid, report
    from .fid_samples import Maker
    from .fid_stats import read_reference
    from .inception import Inception
    from .memory import keep_freed_memory
    from .runs import Run, write_atomically
    from .tasks.image_sources.cache import cache_folder

    if args.data is not None:
        raise UserError("--data is for measures without FID, which compares with --fid-stats: leave one of them out")
    reference = read_reference(args.fid_stats)
    keep_freed_memory()
    with joined(args.device, DAY) as processes:
        model = open_model(args)
        budgets, files = budgets_of(args, model), [Run(args.run)] if args.run.is_dir() else []
        folder = files[0].fid if files else cache_folder().with_name("fid")
        maker = Maker(model, Inception(args.inception, model.device), args.seed, args.guidance, folder)
        result = evaluate_fid(maker, reference, budgets, args.num, batch_size=args.batch_size, processes=processes)
        if result is not None:
            content = (json.dumps(result, indent=2) + "\n").encode()
            print(report(result), flush=True)
            for path in [*(run.fid_result for run in files), *filter(None, [args.json])]:
                write_atomically(path, content)
