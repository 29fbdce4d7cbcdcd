"""The command line, `shortcut`: a thin layer over the Python interface."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import encode_cli, fid_cli, import_original
from ._version import __version__
from .errors import PeerLost, Stopped, UserError
from .launch import first_to_say, several
from .options import Parser, number, whole_number

if TYPE_CHECKING:
    from .model import Model

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""what torch says of it, on one device or another"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 where another process was lost, 2 for input at fault, or 128 + the signal that
    stopped a training.

    One of several processes that torchrun started ends here, with that code.
    """
    code = _run(arguments)
    if several():
        # The threads that carried messages may abort a process that ends in the ordinary way, after all is done.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    warnings.showwarning = lambda message, *rest, **more: _say(f"warning: {' '.join(str(message).split())}")
    try:
        args = build_parser().parse_args(arguments)
        args.command(args)
        sys.stdout.flush()
    except UserError as error:
        return _complain(str(error))
    except BrokenPipeError:  # whoever was reading, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}")
    except PeerLost as error:
        _say(str(error))
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(text in str(error) for text in OUT_OF_MEMORY):
            raise
        return _complain("out of memory: lower --batch-size, raise --accumulate, or take a smaller network")
    except Stopped as stopped:
        _say(f"{stopped}; run the same command again to go on")
        return 128 + stopped.signal_number
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    return 0


def _say(message: str) -> None:
    """One line on stderr; once, where several processes have the same to say."""
    if first_to_say(message):
        print(f"shortcut: {message}", file=sys.stderr)


def _complain(message: str) -> int:
    _say(f"error: {' '.join(message.split())}")
    return 2


def build_parser() -> Parser:
    parser = Parser(
        prog="shortcut",
        description="One network, trained once, that generates in 1, 2, 4, ... 128 steps.",
        epilog="`shortcut COMMAND --help` explains a command, `shortcut train RECIPE --help` a recipe's options.",
    )
    parser.add_argument("--version", action="version", version=f"shortcut-models {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], about: str) -> Parser:
        sub: Parser = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(command=run)
        return sub

    command("recipes", recipes, "list the recipes, with the results measured with them")
    train_parser = command("train", train, "train a recipe, or go on with a run that was stopped")
    compare_parser = command("compare", compare, "train methods at equal compute and set their samples side by side")
    for part in (train_parser, compare_parser):
        part.add_argument("rest", nargs=argparse.REMAINDER)
        part.prefix_chars = "\0"  # every word, options too, goes to the recipe's own parser

    encode_cli.add_arguments(command("encode", encode_cli.command, encode_cli.ABOUT))

    sub = command("sample", sample, "make samples at one or more budgets of steps")
    _add_run(sub)
    _add_sampling(sub, steps=[1], num=64)
    sub.add_argument("--label", type=whole_number, metavar="N", help="one class for all (default: all in turn)")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="arrays steps_1, ..., and labels")

    sub = command("evaluate", evaluate, "measure quality against steps; the most are always taken too, to compare with")
    _add_run(sub)
    _add_sampling(sub, steps=None, num=1000)
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    sub.add_argument("--data", metavar="PATH", help="where the images are (default: where they were for training)")
    fid_cli.add_to_evaluate(sub)
    fid_cli.add_arguments(command("fid-stats", fid_cli.fid_stats, fid_cli.ABOUT))

    sub = command("interpolate", interpolate, "draw what lies between pairs of noises")
    _add_run(sub)
    sub.add_argument("--steps", type=whole_number, default=1, metavar="N", help="sampling steps (default 1)")
    sub.add_argument("--pairs", type=whole_number, default=8, metavar="N", help="rows; >= 1 (default 8)")
    sub.add_argument("--points", type=whole_number, default=9, metavar="N", help="columns; >= 2 (default 9)")
    sub.add_argument("--label", type=whole_number, metavar="N", help="one class for all (default: one a row, in turn)")
    sub.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the noises; >= 0 (default 0)")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture")

    sub = command(
        "plot", plot, "draw the quality of several runs against the number of steps, or the size of the network"
    )
    sub.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs that have been evaluated")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture")
    against = "steps: a line a run; size, in parameters: a line a number of steps (default steps)"
    sub.add_argument("--against", choices=("steps", "size"), default="steps", help=against)
    sub.add_argument(
        "--steps", type=whole_number, nargs="+", metavar="N", help="only these (default: all that are known)"
    )
    sub.add_argument("--measures", nargs="+", metavar="NAME", help="only these, as fid (default: all that are known)")

    sub = command("animate", animate, "draw a 2-D run's learning as GIFs: the rainbow, and raw weights against EMA")
    sub.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE.gif", help="the rainbow; FILE-flow.gif beside it")

    sub = command("report", report, "write a self-contained HTML report of a run and print its path")
    _add_run(sub, "a run directory")
    sub.add_argument("--out", type=Path, metavar="FILE.html", help="default: RUN/report.html")

    import_original.add_arguments(command("import-original", import_original.command, import_original.ABOUT))
    return parser


def _add_run(parser: Parser, what: str = "a run directory or a model.safetensors file") -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help=what)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument(
        "--vae", metavar="NAME", help="the VAE's folder or Hub name (default: where it was for training)"
    )


def _add_sampling(parser: Parser, steps: list[int] | None, num: int) -> None:
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


def recipes(args: argparse.Namespace) -> None:
    from .recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name}\n    {recipe.about}\n    {recipe.measured}")


def train(args: argparse.Namespace) -> None:
    from .recipe_options import parse_recipe
    from .training_runs import train_recipe

    name, recipe, options = parse_recipe(args.rest, "train", add_train_options)
    run = options.run or Path("runs") / name
    train_recipe(name, recipe, run, options.teacher, init_from=options.init_from)
    done = f"{run} is trained: try `shortcut sample {run} --steps 1 4 --out samples.npz` or `shortcut evaluate {run}`"
    if first_to_say(done):
        print(done)


def add_train_options(parser: Parser) -> None:
    parser.add_argument("--run", type=Path, metavar="DIR", help="the run's directory (default: runs/RECIPE)")
    parser.add_argument(
        "--teacher", type=Path, metavar="RUN",
        help="a trained run or model file, for objectives that learn from one (default: half of the steps train one)",
    )  # fmt: skip
    parser.add_argument(
        "--init-from", type=Path, metavar="RUN",
        help="a trained run or model file whose weights the network begins with, a flow-matching model for instance",
    )  # fmt: skip


def compare(args: argparse.Namespace) -> None:
    from .compare_cli import compare_command

    compare_command(args.rest)


def open_model(args: argparse.Namespace) -> Model:
    from .model import load
    from .tasks import Latents
    from .training import Training

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


def sample(args: argparse.Namespace) -> None:
    check_out(args.out, ".npz")
    model = open_model(args)
    budgets = budgets_of(args, model)
    model.check_request(args.num, args.seed, args.guidance, args.batch_size, len(budgets))
    labels = model.labels(args.num, args.label)
    import numpy as np
    from tqdm import tqdm

    from .figures import stack
    from .markup import counted
    from .runs import write_atomically

    arrays: dict[str, Any] = {}
    for steps in tqdm(budgets, unit="budget", disable=None):
        arrays[f"steps_{steps}"] = model.sample(
            args.num, steps=steps, label=args.label, seed=args.seed, guidance=args.guidance, batch_size=args.batch_size
        )
    num, columns = model.task.preview
    drawn = [model.task.draw(made[: 4 * num], columns) for made in arrays.values()]
    picture, content = io.BytesIO(), io.BytesIO()
    stack([counted(steps) for steps in budgets], drawn).save(picture, "PNG")
    np.savez_compressed(content, labels=labels, **arrays)
    write_atomically(args.out, content.getvalue())
    write_atomically(args.out.with_suffix(".png"), picture.getvalue())
    print(f"{args.out} and {args.out.with_suffix('.png')}")


def evaluate(args: argparse.Namespace) -> None:
    from . import evaluation
    from .recipe_options import task_at
    from .runs import Run, write_atomically

    if args.json is not None:
        check_out(args.json, ".json")
    if args.fid_stats is not None:
        fid_cli.evaluate(args)
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


def interpolate(args: argparse.Namespace) -> None:
    from .interpolation import interpolate as draw
    from .runs import write_atomically

    check_out(args.out, ".png")
    model = open_model(args)
    picture, content = draw(model, args.steps, args.pairs, args.seed, args.points, args.label), io.BytesIO()
    picture.save(content, "PNG")
    write_atomically(args.out, content.getvalue())
    print(args.out)


def plot(args: argparse.Namespace) -> None:
    from .quality import plot as draw

    check_out(args.out, ".png")
    draw(args.runs, args.out, args.against, args.steps, args.measures)
    print(args.out)


def animate(args: argparse.Namespace) -> None:
    from .animation import animate as draw

    check_out(args.out, ".gif")
    for path in draw(args.run, args.out):
        print(path)


def report(args: argparse.Namespace) -> None:
    from .report import write_report

    if args.out is not None:
        check_out(args.out, ".html")
    print(write_report(args.run, open_model(args), args.out))


if __name__ == "__main__":
    sys.exit(main())
