"""What several commands have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..options import Parser, number, whole_number

if TYPE_CHECKING:
    from ..model import Model


def add_run(parser: Parser, what: str = "a run directory or a model.safetensors file") -> None:
    """The run, and where its model goes."""
    parser.add_argument("run", type=Path, metavar="RUN", help=what)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument(
        "--vae", metavar="NAME", help="the VAE's folder or Hub name (default: where it was for training)"
    )


def add_sampling(parser: Parser, steps: list[int] | None, num: int) -> None:
    """What is sampled, and how."""
    shown = "1 2 4 ... up to the most" if steps is None else " ".join(map(str, steps))
    parser.add_argument(
        "--steps", type=whole_number, nargs="+", default=steps, metavar="N",
        help=f"sampling steps, any of 1 to the run's most, 128 as a rule (default {shown})",
    )  # fmt: skip
    parser.add_argument("--num", type=whole_number, default=num, metavar="N", help=f"samples; >= 1 (default {num})")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the noises; >= 0 (default 0)")
    parser.add_argument(
        "--guidance", type=number, default=1.0, metavar="W", help="classifier-free guidance; 1 is none (default 1)"
    )
    parser.add_argument(
        "--batch-size", type=whole_number, default=250, metavar="N", help="samples made at once; >= 1 (default 250)"
    )


def add_network(parser: Parser) -> None:
    """The option that names FID's network."""
    parser.add_argument(
        "--inception", metavar="FILE",
        help="TorchScript of the Inception network of 2015, or its https:// address (default: that of the extra `fid`)",
    )  # fmt: skip


def open_model(args: argparse.Namespace) -> Model:
    """The model that a command is given. Raises UserError where it is not to be had."""
    from ..model import load
    from ..tasks import Latents
    from ..training import Training

    model = load(args.run, device=Training(device=args.device).torch_device())
    if isinstance(model.task, Latents):
        model.task = model.task.with_vae(args.vae)
    elif args.vae is not None:
        raise UserError(f"{args.run} has no VAE: leave --vae out")
    return model


def budgets_of(args: argparse.Namespace, model: Model) -> list[int]:
    """The budgets asked for, or every power of two. Raises UserError for one that the model has not."""
    most = model.objective.max_steps
    budgets = args.steps or [2**k for k in range(most.bit_length())]
    for steps in budgets:
        if not 1 <= steps <= most:
            raise UserError(f"--steps must be whole numbers from 1 to {most}, not {steps}")
    return list(dict.fromkeys(budgets))


def check_out(path: Path, suffix: str) -> None:
    """Raise UserError, before any work, where a file cannot be written."""
    if path.suffix != suffix:
        raise UserError(f"the name of {path} must end in {suffix}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is no folder: make it first, or give another place for {path.name}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"nothing may be written in {path.parent}: give another place for {path.name}")
