"""The commands that reproduce a run and its figures."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import options, word
from ..evaluation.results import precision_of
from ..models.parts import REGISTRIES, describe
from .library import RECIPES, Recipe

PREFIXES = {"task": "task.", "network": "network.", "objective": "objective.", "training": ""}
"""first part of the options' names, for each part of a recipe"""


def train_command(config: dict[str, Any], run: Path) -> str | None:
    """Return the command that trains a run, or None where one of its parts is not registered, or is a teacher."""
    name = config.get("recipe")
    if name not in RECIPES or "teacher" in config:
        return None
    words = changes({part: config[part] for part in PREFIXES}, RECIPES[name])
    return None if words is None else shlex.join(["shortcut", "train", name, "--run", str(run), *words])


def changes(parts: Mapping[str, dict[str, Any]], recipe: Recipe) -> list[str] | None:
    """Return the options that turn a recipe into described parts, or None where one of these is not registered."""
    words = []
    for part, prefix in PREFIXES.items():
        entry, default = parts[part], getattr(recipe, part)
        if part != "training" and entry.get("name") != describe(default)["name"]:
            registry = REGISTRIES[part]
            if entry.get("name") not in registry or part == "task":
                return None
            default = registry[entry["name"]]()
            words += [f"--{part}", entry["name"]]
        words += _changes(entry, default, prefix)
    return words


def _changes(entry: dict[str, Any], default: Any, prefix: str) -> list[str]:
    """Return the options that turn a part of a recipe into that of a configuration."""
    words = []
    for option in options(default):
        value = entry.get(option.name, usual := getattr(default, option.name))
        value = tuple(value) if isinstance(value, list) else value
        if option.settable and value != usual:
            flag = "--data" if option.name == "data" else option.flag(prefix, value)
            words += [flag] if isinstance(value, bool) else [flag, word(value)]
    return words


def evaluate_command(evaluation: dict[str, Any] | None, run: Path) -> str:
    """Return the command that made an evaluation, or that makes a first one."""
    words = ["shortcut", "evaluate", str(run)]
    if evaluation is not None:
        words += ["--steps", *evaluation["steps"], "--num", str(evaluation["num"]), "--seed", str(evaluation["seed"])]
        words += ["--guidance", str(evaluation["guidance"])] if evaluation["guidance"] != 1 else []
        words += ["--precision", precision_of(evaluation)] if precision_of(evaluation) != "fp32" else []
    return shlex.join(words)


def join(*words: object) -> str:
    """Return words quoted for a shell."""
    return shlex.join(map(str, words))
