"""The command line, `shortcut`: a thin layer over the Python interface, a file for each command."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence

from .._version import __version__
from ..arguments import Parser
from ..errors import PeerLost, Stopped, UserError
from ..system.torchrun import is_distributed, once_per_job
from . import (
    animate,
    collect,
    compare,
    encode,
    evaluate,
    fid_stats,
    import_original,
    interpolate,
    plot,
    race,
    recipes,
    report,
    rollout,
    sample,
    train,
)

COMMANDS = (
    recipes, collect, train, compare, encode, sample, evaluate, fid_stats, interpolate, plot, animate, report, rollout,
    race, import_original,
)  # fmt: skip
"""a module each, with what --help says of it (ABOUT), its options (add_arguments), and what it does (run)"""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""what torch says of it, on one device or another"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 where another process was lost, 2 for input at fault, or 128 + the signal that
    stopped a training.

    One of several processes that torchrun started ends here, with that code.
    """
    code = _run(arguments)
    if is_distributed():
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
    """One line on stderr; once, where several processes have the same to say.

    Names in it may come from a file, so what a terminal would act on is spelled out.
    """
    if once_per_job(message):
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        print(f"shortcut: {shown}", file=sys.stderr)


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
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2].replace("_", "-")
        sub = commands.add_parser(name, help=command.ABOUT, description=command.ABOUT)
        sub.set_defaults(command=command.run)
        command.add_arguments(sub)
    return parser
