"""The command line, `shortcut`: a thin layer over the Python interface."""

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._version import __version__
from ..errors import PeerLost, Stopped, UserError, first_line
from ..system.streams import STDERR, complete_streams, silence
from ..system.torchrun import is_distributed, once_per_job

if TYPE_CHECKING:
    from .parser import Command

COMMANDS = {
    "recipes": "list the recipes, with the results measured with them",
    "collect": "record demonstrations: an expert drives, or corrects a policy, or you drive yourself",
    "train": "train a recipe, or resume a run that was stopped",
    "compare": "train several methods at equal compute and put their samples side by side",
    "inspect": "say what data holds, without training, and draw examples of it",
    "encode": "turn images into latents once, so that training does not do it at every step",
    "sample": "make samples at one or more numbers of steps",
    "evaluate": "measure quality against the number of steps, beside that of real data and of chance",
    "fid-stats": "make the reference statistics of FID from images",
    "interpolate": "draw the samples between pairs of noises",
    "plot": "draw the quality of several runs against the number of steps, or against the size of the network",
    "animate": "draw the training of a 2-D run as GIFs: the rainbow, and raw weights beside their EMA",
    "report": "write a self-contained HTML report of a run and print its path",
    "rollout": "evaluate a policy: play episodes at one or more numbers of steps, in worlds without demonstrations",
    "plot-chunks": "draw the actions that a policy predicts in an episode of demonstrations over those that were shown",
    "race": "show policies side by side in the same world, or one policy at several numbers of steps",
    "import-original": "turn a checkpoint of the paper's own code into a run to sample from",
}
"""each command is a class of the same name, in a module of that name unless MODULES names another"""
MODULES = {
    **dict.fromkeys(("interpolate", "plot", "animate", "report"), "pictures"),
    **dict.fromkeys(("collect", "rollout", "race"), "policies"),
}

HELP = f"""usage: shortcut [-h] [--version] COMMAND ...

One network, trained once, that generates in 1, 2, 4, ... 128 steps.

commands:
{chr(10).join(f"  {name:<16} {about}" for name, about in COMMANDS.items())}

options:
  -h, --help       show this help message and exit
  --version        show the version and exit

`shortcut COMMAND --help` explains a command, `shortcut train RECIPE --help` a recipe's options."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""parts of torch's messages, on one device or another"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. One of several processes that torchrun started ends here, with the exit code.

    It is 0; 1 where another process was lost; 2 for wrong input; or 128 + the signal that stopped a training.
    """
    complete_streams()
    code = _run(sys.argv[1:] if arguments is None else arguments)
    if is_distributed():
        # The threads that carried messages may abort a process that ends in the ordinary way, after all is done.
        sys.stdout.flush()
        STDERR.flush()
        os._exit(code)
    return code


def read(words: Sequence[str]) -> "Command":
    """Return the command that the words of a command line ask for; SystemExit where they ask for help or version."""
    if not words:
        raise UserError("COMMAND is missing (see `shortcut --help`)")
    name, *rest = words
    if name in ("-h", "--help", "--version"):
        print(f"shortcut-models {__version__}" if name == "--version" else HELP)
        raise SystemExit(0)
    from ..config import choose

    about = choose("command", name, COMMANDS)
    module = importlib.import_module(f".{MODULES.get(name, name.replace('-', '_'))}", __name__)
    command: type[Command] = getattr(module, name.title().replace("-", ""))
    return command.read(rest, f"shortcut {name}", about)


def _run(words: Sequence[str]) -> int:
    warnings.showwarning = lambda message, *rest, **more: _say(f"warning: {' '.join(str(message).split())}")
    try:
        try:
            os.getcwd()
        except OSError:  # torch would end the process
            raise UserError("the current directory does not exist any longer: change to another") from None
        try:
            read(words)()
        finally:
            sys.stdout.flush()  # within this block; help ends with SystemExit
    except UserError as error:
        return _complain(str(error))
    except ValueError as error:
        if not any(frame.f_code.co_name == "<module>" for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        # A library that is imported refuses TORCH_LOGS or TQDM_MININTERVAL, for two.
        reason = f"a library does not start ({first_line(error)})"
        return _complain(f"{reason}: unset the variable of the environment that this is about")
    except BrokenPipeError:  # the reader, `head` for one, has closed the pipe
        silence(sys.stdout)
        return 128 + 13  # SIGPIPE, which Windows does not have
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}")
    except PeerLost as error:
        _say(str(error))
        return 1
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(text in str(error) for text in OUT_OF_MEMORY):
            raise
        return _complain(
            "out of memory: lower --batch-size, choose a smaller network, or for training raise --accumulate"
        )
    except Stopped as stopped:
        _say(f"{stopped}; run the same command again to resume")
        return 128 + stopped.signal_number
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    return 0


def _say(message: str) -> None:
    """Print one line on stderr, once for all processes that print the same.

    A name in it may come from a file, so characters that a terminal would act on are escaped.
    """
    if once_per_job(message):
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        print(f"shortcut: {shown}", file=STDERR, flush=True)


def _complain(message: str) -> int:
    _say(f"error: {' '.join(message.split())}")
    return 2
