"""The help texts of the command line, and how fast they are."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from helpers.runs import COMMANDS, environment, shortcut
from shortcut_models import __version__
from shortcut_models.cli import main
from shortcut_models.config import options
from shortcut_models.networks import NETWORKS
from shortcut_models.objectives import OBJECTIVES, Shortcut
from shortcut_models.recipes.commands import PREFIXES
from shortcut_models.recipes.library import RECIPES
from shortcut_models.training.options import Training


def help_of(*words: str, width: int = 100) -> str:
    """Return what `shortcut WORDS --help` prints, with each option on one line."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit) as left:
            main([*words, "--help"])
    assert left.value.code == 0
    return " ".join(said.getvalue().split())


def test_help_lists_every_command() -> None:
    said = help_of()
    assert all(re.search(rf" {name} ", said) for name in COMMANDS)


@pytest.mark.multiprocess
def test_help_does_not_wait_for_torch() -> None:
    code = f"""
import sys
from shortcut_models.cli import main
for words in (["--help"], ["--version"]):
    try:
        main(words)
    except SystemExit as left:
        assert left.code == 0
assert main([]) == 2
assert "tyro" not in sys.modules
simple = {[name for name in COMMANDS if name not in ("train", "compare")]}
for name in simple:
    try:
        main([name, "--help"])
    except SystemExit as left:
        assert left.code == 0
    assert main([name, "--nonsense"]) == 2
heavy = {{"torch", "numpy", "matplotlib", "sklearn", "PIL"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


EXPECTED = {
    "collect": ["ENVIRONMENT name of the environment: car-racing, or meta-world/TASK (required)",
                "--episodes N number of episodes to keep, those of earlier calls included, >= 1 (required)",
                "--human, --no-human drive yourself, with the keyboard or a gamepad (default: False)"],
    "inspect": ["DATA images or demonstrations, as --data of a training takes them, or latents that `shortcut encode` "
                "wrote (required)",
                "--out PATH picture of examples, .png: some of each class, or an episode (default: no picture)",
                "--task.image-size N side in pixels, as for the run, >= 1 (default: the images' own)"],
    "encode": ["--image-size N side in pixels, >= 1 (default: the images' own)",
               "--flip, --no-flip encode the mirror images too, which are wrong for text and digits (default: True)",
               "--shard-size N number of images in a file, >= 1 (default: 1024)"],
    "sample": ["RUN run directory or model.safetensors file (required)",
               "--steps N [N ...] numbers of sampling steps, 1 to the model's largest, which is 128 as a rule "
               "(default: 1)",
               "--num N number of samples, >= 1 (default: 64)",
               "--guidance X weight of classifier-free guidance, >= 0; 1 is none (default: 1.0)",
               "--precision {fp32,bf16} arithmetic of the network; bf16 is faster where the hardware multiplies it "
               "(default: fp32)"],
    "evaluate": ["--steps N [N ...] numbers of sampling steps, 1 to the model's largest (default: 1 2 4 ... up to the "
                 "largest)", "--num N number of samples for each number of steps, >= 1 (default: 1000)",
                 "--fid-stats PATH", "--inception TEXT"],
    "fid-stats": ["--out PATH file of the statistics, .npz, with arrays mu, sigma, and more (required)",
                  "--split {train,test,all} part of the images: all, those to train on, or those held out "
                  "(default: all)",
                  "--task.channels {1,3} number of channels; 1 is grey, 3 is colour (default: that of the data)",
                  "--keep N number of images whose features are kept too, for KID and neighbourhoods, >= 0 (default: "
                  "10000)"],
    "interpolate": ["--points N number of points between a pair, a column each, >= 2 (default: 9)"],
    "plot": ["RUN [RUN ...] runs that have been evaluated (required)", "[OPTIONS] RUN [RUN ...]",
             "--against {steps,size} horizontal axis; steps: a line a run; size, in parameters: a line a number of "
             "steps (default: steps)"],
    "report": ["--out PATH file of the report, .html (default: RUN/report.html)"],
    "rollout": ["--seed N seed of the first episode, 0 to 2147483647; seeds of the demonstrations are skipped "
                "(default: 1000000)",
                "--workers N number of processes, each with its share of the cores, 1 to 256 (default: 1)"],
    "race": ["--seconds X longest duration of the video in seconds, > 0 (default: until all have finished)"],
    "import-original": ["--raw, --no-raw import the parameters themselves, not their average (default: False)"],
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "compare")])
def test_every_command_explains_itself(name: str) -> None:
    said = help_of(name)
    assert f"usage: shortcut {name}" in said
    for line in EXPECTED.get(name, []):
        assert line in said


def test_help_of_a_command_has_nothing_without_an_explanation() -> None:
    for name in COMMANDS:
        said = help_of(name, width=300)
        flags = re.findall(r" (--[a-z][\w.-]*)(?: [A-Z{][^ ]*(?: \[[A-Z]+ \.\.\.\])?)? (\(?\w+)", said)
        assert all(not what.startswith("(") for flag, what in flags), flags


@pytest.mark.parametrize("name", ["train", "compare"])
def test_help_of_train_and_compare_lists_the_names_that_they_take(name: str) -> None:
    for said in (help_of(name), help_of(name, "digits")):
        assert f"networks: {', '.join(NETWORKS)}" in said
        assert f"methods: {', '.join(OBJECTIVES)}" in said
    assert f"recipes: {', '.join(RECIPES)}" in help_of(name)


def test_help_of_compare_has_its_options_and_not_those_that_it_decides() -> None:
    for said in (help_of("compare"), help_of("compare", "digits")):
        for line in (
            "--objectives TEXT [TEXT ...] names of methods, of those above; all stands for those that are generative "
            "(default: all)",
            "--nfe-budget N network evaluations of each training, its teacher included, >= 1; an example forward "
            "counts 1, forward and backward 3 (default: 40% of what the recipe's own training takes)",
            "--seeds N number of trainings of each method, >= 1 (default: 1)",
            "--steps N [N ...] numbers of sampling steps to evaluate at, 1 to the model's largest (default: 128 4 1)",
            "--jobs N number of trainings at a time, each with its share of the cores, >= 1 (default: 1)",
            "--out PATH folder of the comparison (default: comparisons/RECIPE)",
        ):
            assert line in said
        for option in ("--trial", "--train-steps", "--snapshots", "--checkpoint-every", "--budget"):
            assert f" {option} " not in said
    assert "--workers N processes that read data" in said


LINES = {
    # a whole number, a choice, a number, a switch, text, names, and one that may be none
    "digits": ["--train-steps N optimiser steps, >= 1 (default: 3200)",
               "--batch-size N examples of a step, over all processes, 1 to 1048576 (default: 512)",
               "--schedule {cosine,constant} after the warm-up: down to 0 along a half cosine, or constant (default: "
               "cosine)",
               "--learning-rate X peak learning rate, > 0 (default: 0.004)",
               "--ema-warmup, --no-ema-warmup shorten both averages at the start, when the weights are random "
               "(default: True)",
               "--network.width N units of the residual stream, >= 1 (default: 128)",
               "(default: none)"],
    "images": ["--task.image-size N side in pixels, >= 1; the shorter side is resized to it and the centre cropped; "
               "none: the images' own (default: none)",
               "--task.channels {1,3} 1 is grey, 3 is colour; none: what the data has (default: none)",
               "--task.flip, --task.no-flip mirror half of the training images, left to right; wrong for text and "
               "digits (default: True)"],
    "push-t": ["(default: 'keypoint,state[:2]')", "--task.environment TEXT", "(default: push-t)"],
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_help_of_a_recipe_has_lines_with_meaning_range_and_default(name: str) -> None:
    said = help_of("train", name)
    for line in LINES[name]:
        assert line in said


@pytest.mark.parametrize("name", RECIPES)
def test_help_of_a_recipe_has_every_field_and_its_docstring(name: str) -> None:
    squeezed = lambda text: "".join(text.split())  # a line may be broken in a long word
    said, recipe = squeezed(help_of("train", name)), RECIPES[name]
    assert squeezed(recipe.about) in said
    assert squeezed(recipe.measured) in said
    for part, prefix in PREFIXES.items():
        config = getattr(recipe, part)
        docs = {option.name: option.doc for option in options(config)}
        for field in dataclasses.fields(config):
            shown = field.metadata.get("settable", True)
            assert (f"--{prefix}{field.name.replace('_', '-')}" in said) == shown
            if shown:
                assert docs[field.name]
                assert all(squeezed(clause) in said for clause in docs[field.name].split(";"))


def test_every_field_of_training_can_be_set() -> None:
    assert all(option.settable for option in options(Training))


@pytest.mark.parametrize("kind", ["network", "objective"])
def test_help_follows_the_network_and_objective_asked_for(kind: str) -> None:
    for name, cls in (NETWORKS if kind == "network" else OBJECTIVES).items():
        said = help_of("train", "digits", f"--{kind}", name)
        assert all(option.flag(f"{kind}.") in said for option in options(cls()))


def test_what_a_program_registers_is_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Mine(Shortcut):
        """A method of the user's."""

        warmth: float = 0.5
        """degree of warmth"""

    monkeypatch.setitem(OBJECTIVES, "mine", Mine)
    mine = dataclasses.replace(RECIPES["digits"], about="digits of mine", objective=Mine(warmth=0.25))
    monkeypatch.setitem(RECIPES, "mine", mine)
    assert f"{', '.join(OBJECTIVES)} " in help_of("train")
    assert "--objective.warmth X degree of warmth (default: 0.5)" in help_of("train", "digits", "--objective", "mine")
    assert "--objective.warmth X degree of warmth (default: 0.25)" in help_of("train", "mine")
    assert "mine\n    digits of mine\n" in shortcut("recipes").out


def test_recipes_are_listed_with_their_results() -> None:
    said = shortcut("recipes").out
    for name, recipe in RECIPES.items():
        assert f"{name}\n" in said
        assert recipe.about in said
        assert recipe.measured in said


def test_the_version_is_printed() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit):
        main(["--version"])
    assert said.getvalue() == f"shortcut-models {__version__}\n"


@pytest.mark.multiprocess
def test_a_reader_that_has_closed_the_pipe_is_not_an_error() -> None:
    code = """
import sys
from shortcut_models.cli import main, recipes
recipes.Recipes.__call__ = lambda self: print("digits")
sys.exit(main(["recipes"]))
"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, env=environment())
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE
