"""What several commands have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Parser, number, whole_number
from ..errors import UserError

if TYPE_CHECKING:
    from ..models.model import Model


def add_run(parser: Parser, what: str = "a run directory or a model.safetensors file") -> None:
    """The run, and where its model goes."""
    parser.add_argument("run", type=Path, metavar="RUN", help=what)
    add_device(parser)
    parser.add_argument(
        "--vae", metavar="NAME", help="the VAE's folder or Hub name (default: where it was for training)"
    )


def add_device(parser: Parser) -> None:
    """Where the network goes."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")


def add_policy(parser: Parser, of: str) -> None:
    """What a policy acts in, and how."""
    add_device(parser)
    parser.add_argument("--environment", metavar="NAME", help=f"where to act (default: as the {of} demonstrations)")
    parser.add_argument(
        "--execute", type=whole_number, metavar="N",
        help=f"actions that are carried out before the next decision (default: the {of} own)",
    )  # fmt: skip


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
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32",  # model.PRECISIONS, but without importing torch
        help="arithmetic of the network; bf16 is faster where the hardware has it (default fp32)",
    )  # fmt: skip


def add_network(parser: Parser) -> None:
    """The option that names FID's network."""
    parser.add_argument(
        "--inception", metavar="FILE",
        help="TorchScript of the Inception network of 2015, or its https:// address (default: that of the extra `fid`)",
    )  # fmt: skip


def device_of(args: argparse.Namespace) -> str:
    """The device asked for. Raises UserError where it is not to be had."""
    from ..system.machine import torch_device

    return str(torch_device(args.device))


def open_model(args: argparse.Namespace) -> Model:
    """The model that a command is given. Raises UserError where it is not to be had."""
    from ..models.loading import load
    from ..tasks import Latents

    model = load(args.run, device=device_of(args))
    if isinstance(model.task, Latents):
        model.task = model.task.with_vae(args.vae)
    elif args.vae is not None:
        raise UserError(f"{args.run} has no VAE: leave --vae out")
    return model


def open_generator(args: argparse.Namespace) -> Model:
    """The model that a command makes samples with. Raises UserError where it is not to be had, or is a policy."""
    from ..policies.policy import Policy

    model = open_model(args)
    if isinstance(model, Policy):
        raise UserError(
            f"{args.run} is a policy, and its samples are actions: judge it with `shortcut rollout {args.run}`, "
            f"or watch it with `shortcut race {args.run}`"
        )
    return model


def budgets_of(args: argparse.Namespace, model: Model) -> list[int]:
    """The budgets asked for, or every power of two. Raises UserError for one that the model has not."""
    budgets = args.steps or [2**k for k in range(model.objective.max_steps.bit_length())]
    for steps in budgets:
        check_steps(steps, model)
    return list(dict.fromkeys(budgets))


def check_steps(steps: int, model: Model) -> None:
    """Raise UserError for a number of steps that a model has not."""
    most = model.objective.max_steps
    if not 1 <= steps <= most:
        raise UserError(f"--steps must be whole numbers from 1 to {most}, not {steps}")


def check_least(args: argparse.Namespace, **least: int) -> None:
    """Raise UserError for an option below the least that it may be."""
    for name, value in least.items():
        if getattr(args, name) < value:
            raise UserError(f"--{name} must be a whole number >= {value}, not {getattr(args, name)}")


def check_seed(args: argparse.Namespace) -> None:
    """Raise UserError for a world's seed that no environment takes."""
    from ..policies.environments import SEEDS

    if not 0 <= args.seed < SEEDS:
        raise UserError(f"--seed must be from 0 to {SEEDS - 1}, not {args.seed}")


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


def check_video_out(path: Path) -> None:
    """Raise UserError, before any work, where a video cannot be written."""
    from ..drawing.video import check_video

    check_video(path)
    check_out(path, path.suffix)
