"""The commands that make a run and its figures again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ..arguments import flag, settable
from ..evaluation.results import precision_of
from ..models.parts import REGISTRIES, describe
from .library import RECIPES

PREFIXES = {"task": "task.", "network": "network.", "objective": "objective.", "training": ""}
"""of the options of each part of a configuration"""


def train_command(config: dict[str, Any], run: Path) -> str | None:
    """The command that a run's configuration stands for; None where parts of it are from elsewhere, as a teacher is."""
    name = config.get("recipe")
    if name not in RECIPES or "teacher" in config:
        return None
    recipe, words = RECIPES[name], ["shortcut", "train", name, "--run", str(run)]
    for part, prefix in PREFIXES.items():
        entry, default = config[part], getattr(recipe, part)
        if part != "training" and entry.get("name") != describe(default)["name"]:
            registry = REGISTRIES[part]
            if entry.get("name") not in registry or part == "task":
                return None
            default = registry[entry["name"]]()
            words += [f"--{part}", entry["name"]]
        words += _changes(entry, default, prefix)
    return shlex.join(words)


def _changes(entry: dict[str, Any], default: Any, prefix: str) -> list[str]:
    """The options that turn a part of a recipe into the one of a configuration."""
    words = []
    for option, _ in settable(default):
        value, name = entry.get(option.name), flag(option, prefix)
        value = tuple(value) if isinstance(value, list) else value
        if option.name not in entry or value == getattr(default, option.name):
            continue
        if isinstance(value, bool):
            words.append(name if value else f"--no-{name.removeprefix('--')}")
        else:
            text = ",".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
            words += ["--data" if option.name == "data" else name, text]
    return words


def evaluate_command(evaluation: dict[str, Any] | None, run: Path) -> str:
    """The command that an evaluation came from, or that would make a first one."""
    words = ["shortcut", "evaluate", str(run)]
    if evaluation is not None:
        words += ["--steps", *evaluation["steps"], "--num", str(evaluation["num"]), "--seed", str(evaluation["seed"])]
        words += ["--guidance", str(evaluation["guidance"])] if evaluation["guidance"] != 1 else []
        words += ["--precision", precision_of(evaluation)] if precision_of(evaluation) != "fp32" else []
    return shlex.join(words)


def join(*words: object) -> str:
    """Words as a shell takes them."""
    return shlex.join(map(str, words))
