"""The command `shortcut encode`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import Parser, whole_number
from ..system.torchrun import DAY

ABOUT = "turn images into latents once, so that training need not do it at every step"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("--data", required=True, metavar="PATH", help="the images: a path, or hf:NAME, as for training")
    add("--vae", required=True, metavar="NAME", help="an AutoencoderKL or AutoencoderTiny: its folder or Hub name")
    add("--out", type=Path, required=True, metavar="DIR", help="where the latents go: new, empty, or begun before")
    add("--image-size", type=whole_number, metavar="N", help="side in pixels; >= 1 (default: the images' own)")
    add("--classes", type=whole_number, metavar="N", help="number of classes; 0 leaves labels out (default: as found)")
    add("--no-flip", action="store_true", help="leave out the mirror images, which are wrong for text and digits")
    add("--skip-damaged", action="store_true", help="leave out images that cannot be read, and say how many")
    add("--shard-size", type=whole_number, default=1024, metavar="N", help="images in a file; >= 1 (default 1024)")
    add("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from ..errors import UserError
    from ..system.distributed import process_group
    from ..system.machine import keep_freed_memory, torch_device
    from ..tasks import Images
    from ..tasks.latents.autoencoder import open_vae
    from ..tasks.latents.encode import encode

    keep_freed_memory()
    vae = open_vae(args.vae)
    try:
        images = Images(
            args.data, args.image_size, vae.image_channels, args.classes,
            flip=not args.no_flip, skip_damaged=args.skip_damaged,
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"--{error}") from None
    with process_group(args.device, DAY) as processes:
        device = torch_device(args.device)
        index = encode(images, vae, args.out, device=device, shard_size=args.shard_size, processes=processes)
    if processes.main:
        print(
            f"{args.out}: {index.train} training and {index.test} held-out images as latents of "
            f"{' x '.join(map(str, index.latent_shape))}; train with --data {args.out}"
        )
