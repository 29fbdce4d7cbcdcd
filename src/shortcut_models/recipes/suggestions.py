"""Which options a user may mean by a word that is not one."""

import difflib
from collections.abc import Collection

from ..config import plain

OTHER_NAMES = {
    "lr": ("learning-rate",),
    "bs": ("batch-size",),
    "step": ("train-steps", "steps"),
    "wd": ("weight-decay",),
    "epochs": ("train-steps",),
    "iterations": ("train-steps", "steps"),
    "iters": ("train-steps", "steps"),
    "steps": ("train-steps",),
    "n": ("num",),
    "max-train-steps": ("train-steps",),
    "sampling-steps": ("steps",),
    "num-steps": ("steps", "train-steps"),
    "inference-steps": ("steps",),
    "num-inference-steps": ("steps",),
    "samples": ("num",),
    "num-samples": ("num",),
    "number": ("num",),
    "resolution": ("image-size",),
    "size": ("image-size",),
    "cfg": ("guidance",),
    "cfg-scale": ("guidance",),
    "guidance-scale": ("guidance",),
    "scale": ("guidance",),
    "class": ("label", "classes"),
    "num-classes": ("classes",),
    "output": ("out", "run"),
    "output-dir": ("out", "run"),
    "out": ("run",),
    "outdir": ("out", "run"),
    "dir": ("run", "out"),
    "dataset": ("data",),
    "data-dir": ("data",),
    "path": ("data",),
    "input": ("data",),
    "gpu": ("device",),
    "cuda": ("device",),
    "cpu": ("device",),
    "num-workers": ("workers",),
    "threads": ("workers",),
    "model": ("network",),
    "method": ("objective",),
    "loss": ("objective",),
    "hidden": ("width",),
    "dim": ("width",),
    "layers": ("depth",),
    "num-heads": ("heads",),
    "ema-decay": ("ema",),
    "grad-clip": ("clip",),
    "clip-grad": ("clip",),
    "max-grad-norm": ("clip",),
    "gradient-accumulation": ("accumulate",),
    "amp": ("precision",),
    "fp16": ("precision",),
    "dtype": ("precision",),
    "dropout": ("label-dropout",),
    "resume": ("run",),
    "force": ("overwrite",),
    "restart": ("overwrite",),
    "checkpoint": ("init-from", "teacher"),
    "pretrained": ("init-from",),
    "save-every": ("checkpoint-every",),
    "tensorboard": ("loggers",),
    "tensor-board": ("loggers",),
    "wandb": ("loggers",),
    "trackio": ("loggers",),
    "logger": ("loggers",),
    "report-to": ("loggers",),
    "log-with": ("loggers",),
    "eval-every": ("evaluate-every",),
    "optim": ("optimizer",),
}
"""what other programs call an option, by the last part of its name: those of ours that may be meant, best first"""


LIKE = 0.8  # least similarity of words, by difflib, that are taken for one another; two slips in ten letters
SHOWN = 3  # options shown of a rank


def options_meant(name: str, flags: Collection[str]) -> list[str]:
    """Return the options that a word may stand for; several where it may stand for each of them, the trainer's first.

    The first of these ranks that has any: the same name in another spelling; the same option in another group; what
    other programs call it; its beginning, or a word of it; letters in disorder.
    """
    wanted = _no_first(plain(name))
    last = wanted.rpartition(".")[2]
    ours = {flag: _no_first(plain(flag)) for flag in sorted(flags, key=lambda flag: ("." in flag, flag))}
    ours = {flag: text for flag, text in ours.items() if text.startswith("no-") == wanted.startswith("no-")}
    if wanted.startswith("no-") and "." not in wanted:
        last = last.removeprefix("no-")
    lasts = {flag: text.rpartition(".")[2].removeprefix("no-") for flag, text in ours.items()}
    words = {flag: [text, *text.split("-")] for flag, text in lasts.items()}
    near = lambda given: difflib.get_close_matches(
        given, dict.fromkeys(each for some in words.values() for each in some), SHOWN, LIKE
    )
    ranks = (
        [flag for flag, text in ours.items() if text == wanted],
        [flag for flag, text in lasts.items() if text == last],
        [flag for other in OTHER_NAMES.get(last, ()) for flag, text in lasts.items() if text == other],
        [flag for flag, text in lasts.items() if len(last) > 1 and (text.startswith(last) or last in words[flag])],
        [flag for flag in ours if not {*near(last)}.isdisjoint(words[flag])],
    )
    return next(filter(None, ranks), [])[:SHOWN]


def _no_first(text: str) -> str:
    """Return a plain name with the "no-" of a switch at its beginning: ours have it after the group."""
    group, dot, last = text.rpartition(".")
    return f"no-{group}{dot}{last.removeprefix('no-')}" if dot and last.startswith("no-") else text
