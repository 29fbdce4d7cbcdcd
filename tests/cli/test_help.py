"""What the command line says of itself."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import signal
import subprocess
import sys

import pytest

from helpers.runs import (
    COMMANDS,
    environment,
    shortcut,
)
from shortcut_models import __version__
from shortcut_models.arguments import settable
from shortcut_models.cli import main
from shortcut_models.config import options
from shortcut_models.networks import NETWORKS
from shortcut_models.objectives import OBJECTIVES
from shortcut_models.recipes.library import RECIPES
from shortcut_models.training.options import Training


def help_of(*words: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    return " ".join(said.getvalue().split())


def test_help_lists_every_command() -> None:
    said = help_of()
    assert all(re.search(rf" {name} ", said) for name in COMMANDS)


def test_help_does_not_wait_for_torch() -> None:
    code = """
import sys
from shortcut_models.cli import main
for words in (["--help"], ["sample", "--help"], ["--version"]):
    try:
        main(words)
    except SystemExit as left:
        assert left.code == 0
assert main(["--nonsense"]) == 2
heavy = {"torch", "numpy", "matplotlib", "sklearn", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "compare")])
def test_every_command_explains_itself(name: str) -> None:
    said = help_of(name)
    assert f"usage: shortcut {name}" in said
    shown = {"sample": ["default 1)", "default 64", "default 0", "default 250", "arrays steps_1"],
             "evaluate": ["1 2 4 ... up to the most", "default 1000", "--fid-stats", "--inception"],
             "fid-stats": ["mu, sigma", "default train", "default 10000"], "plot": ["{steps,size}", "default steps"],
             "interpolate": ["default 8", ">= 2"], "report": ["RUN/report.html"]}  # fmt: skip
    assert all(text in said for text in shown.get(name, []))


@pytest.mark.parametrize("name", ["train", "compare"])
def test_help_of_train_and_compare_lists_the_recipes(name: str) -> None:
    without_breaks = help_of(name).replace(" ", "")  # a hyphen is a place to break a line
    assert ",".join(RECIPES) in without_breaks


def test_help_of_compare_lists_the_methods_and_its_options() -> None:
    for said in (help_of("compare"), help_of("compare", "digits")):
        assert ",".join(OBJECTIVES) in said.replace(" ", "")  # lines are broken at hyphens too
        for option in ("--objectives", "--nfe-budget", "--seeds", "--steps", "--num", "--workers", "--out"):
            assert f"{option} " in said


@pytest.mark.parametrize("name", RECIPES)
def test_help_of_a_recipe_has_the_meaning_range_and_default_of_every_field(name: str) -> None:
    squeezed = lambda text: "".join(text.split())  # lines are broken at hyphens too
    said, recipe = squeezed(help_of("train", name)), RECIPES[name]
    assert squeezed(recipe.about) in said
    for part, prefix in (("task", "task."), ("network", "network."), ("objective", "objective."), ("training", "")):
        config = getattr(recipe, part)
        for option, _ in settable(config):
            default = getattr(config, option.name)
            shown = ",".join(default) if isinstance(default, tuple) else default
            facts = "; ".join(filter(None, [option.range, f"default {'none' if shown in (None, '') else shown}"]))
            assert option.help
            assert f"--{prefix}{option.name.replace('_', '-')}" in said
            assert squeezed(f"{option.help} ({facts})") in said


def test_every_field_of_training_can_be_set() -> None:
    assert {option.name for option, _ in settable(Training)} == {field.name for field in dataclasses.fields(Training)}


@pytest.mark.parametrize("kind", ["network", "objective"])
def test_help_follows_the_network_and_objective_asked_for(kind: str) -> None:
    for name, cls in (NETWORKS if kind == "network" else OBJECTIVES).items():
        said = help_of("train", "digits", f"--{kind}", name)
        assert all(f"--{kind}.{option.name.replace('_', '-')}" in said for option in options(cls()))


def test_recipes_are_listed_with_their_results() -> None:
    said = shortcut("recipes").out
    for name, recipe in RECIPES.items():
        assert f"{name}\n" in said
        assert recipe.about in said
        assert recipe.measured in said


def test_the_version_is_told() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit):
        main(["--version"])
    assert said.getvalue() == f"shortcut-models {__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = """
import sys
from shortcut_models import cli
cli.recipes.run = lambda args: print("digits")
sys.exit(cli.main(["recipes"]))
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, env=environment())
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE
