"""The command line: what every command does, says and writes, as a user meets it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.runs import (
    DIGITS,
    POINTS,
    same,
    shell,
    shortcut,
    steps_of,
    tensors,
    train,
    tree,
)
from shortcut_models import __version__, cli, load
from shortcut_models.drawing.sheets import stack
from shortcut_models.networks import DiTConfig
from shortcut_models.recipes.library import RECIPES
from shortcut_models.training.options import Training


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "digits"
    train(run, "--checkpoint-every", 5)
    return run


def test_a_run_is_a_directory_with_everything_in_it(digits: Path) -> None:
    assert [name for name in sorted(os.listdir(digits)) if not name.startswith(".")] == [
        "checkpoints", "config.json", "metrics.jsonl", "samples",
    ]  # fmt: skip
    config = json.loads((digits / "config.json").read_text())
    assert config["version"] == __version__
    assert config["recipe"] == "digits"
    sizes = {"name": "mlp", "width": 16, "depth": 1, "expansion": 2, "condition_width": 128}
    assert config["network"].items() >= sizes.items()
    assert config["training"]["train_steps"] == 12
    assert config["training"].keys() == {"name", *(field.name for field in dataclasses.fields(Training))}
    assert [json.loads(line)["step"] for line in (digits / "metrics.jsonl").read_text().splitlines()] == [5, 10, 12]
    assert steps_of(digits) == [5, 10, 12]
    assert Image.open(digits / "samples" / "step_00000012.png").format == "PNG"


def test_training_says_what_to_try_next_and_repeats_nothing(digits: Path) -> None:
    before = tree(digits)
    outcome = train(digits, "--checkpoint-every", 5)
    assert f"shortcut sample {digits} --steps 1 4 --out samples.npz" in outcome.out
    assert tree(digits) == before


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(digits: Path, tmp_path: Path) -> None:
    train(tmp_path / "same", "--checkpoint-every", 5)
    train(tmp_path / "other", "--checkpoint-every", 5, "--seed", 1)
    assert same(tensors(tmp_path / "same"), tensors(digits))
    other = tensors(tmp_path / "other")
    assert not any(torch.equal(other[name], value) for name, value in tensors(digits).items() if value.ndim == 2)


def test_rates_of_logging_and_saving_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, "--schedule", "constant", "--train-steps", 5)
    more = ("--checkpoint-every", 2, "--keep", 9, "--log-every", 3, "--heldout-every", 4, "--sample-every", 6)
    train(run, "--schedule", "constant", "--train-steps", 12, *more)
    train(tmp_path / "whole", "--schedule", "constant")
    assert same(tensors(run), tensors(tmp_path / "whole"))
    assert steps_of(run) == [5, 6, 8, 10, 12]
    assert sorted(os.listdir(run / "samples")) == [f"step_{step:08d}.png" for step in (5, 6, 12)]


def test_a_run_has_a_place_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortcut(*POINTS, "--train-steps", 2).code == 0
    assert steps_of(Path("runs/four-gaussians")) == [2]


def test_sample_writes_arrays_and_a_picture(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.npz"
    outcome = shortcut("sample", digits, "--steps", 1, 4, 3, 4, "--num", 23, "--seed", 7, "--out", out)
    assert outcome == (0, f"{out} and {tmp_path / 's.png'}\n", "")
    made = np.load(out)
    assert sorted(made.files) == ["labels", "steps_1", "steps_3", "steps_4"]
    assert all(made[f"steps_{steps}"].shape == (23, 8, 8) for steps in (1, 3, 4))
    assert made["labels"].tolist() == [i % 10 for i in range(23)]
    picture = Image.open(tmp_path / "s.png")
    assert picture.format == "PNG"
    assert np.asarray(picture.convert("L")).std() > 0
    assert sorted(os.listdir(tmp_path)) == ["s.npz", "s.png"]


def test_the_picture_shows_the_samples_below_their_number_of_steps(digits: Path, tmp_path: Path) -> None:
    shortcut("sample", digits, "--steps", 1, 4, "--num", 3, "--out", tmp_path / "s.npz")
    made, task = np.load(tmp_path / "s.npz"), load(digits).task
    drawn = [task.draw(made[name], task.preview_grid[1]) for name in ("steps_1", "steps_4")]
    picture = np.asarray(Image.open(tmp_path / "s.png"))
    assert np.array_equal(picture, np.asarray(stack(["1 step", "4 steps"], drawn)))
    assert not np.array_equal(picture, np.asarray(stack(["1 step", "8 steps"], drawn)))


def test_sample_does_as_the_python_interface(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.npz"
    words = ("--num", 6, "--label", 3, "--guidance", 1.5, "--seed", 2, "--batch-size", 4, "--out", out)
    assert shortcut("sample", digits, *words).code == 0
    made = np.load(out)
    assert made["labels"].tolist() == [3] * 6
    assert np.array_equal(made["steps_1"], load(digits).sample(6, label=3, guidance=1.5, seed=2))
    lone = digits / "checkpoints" / "00000012" / "model.safetensors"
    assert shortcut("sample", lone, *words).code == 0
    assert np.array_equal(np.load(out)["steps_1"], made["steps_1"])


def test_evaluate_prints_a_table_and_writes_json(digits: Path, tmp_path: Path) -> None:
    outcome = shortcut("evaluate", digits, "--steps", 1, 2, "--num", 20, "--json", tmp_path / "e.json")
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split()[:2] == ["steps", "accuracy"]
    assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == ["chance", "real", "1", "2", "verdict:"]
    result = json.loads((tmp_path / "e.json").read_text())
    assert result == json.loads((digits / "evaluation.json").read_text())
    assert list(result["steps"]) == ["1", "2"]

    # A quick look does not take the place of a better measurement; an equal one does.
    for words, stays in ((("--steps", 1, "--num", 20), True), (("--steps", 1, 2, 4, "--num", 19), True),
                         (("--steps", 1, 2, "--num", 20, "--seed", 1), False)):  # fmt: skip
        outcome = shortcut("evaluate", digits, *words, "--json", tmp_path / "e.json")
        said = f"{digits / 'evaluation.json'} stays, as it is of 20 samples at 2 numbers of steps: pass --json FILE"
        assert (said in outcome.out) == stays
        assert (result == json.loads((digits / "evaluation.json").read_text())) == stays
        assert json.loads((tmp_path / "e.json").read_text()) != result
    (digits / "evaluation.json").unlink()


def test_evaluate_takes_every_power_of_two_by_default(tmp_path: Path) -> None:
    train(tmp_path / "run", options=POINTS)
    said = shortcut("evaluate", tmp_path / "run", "--num", 10).out
    assert said.splitlines()[-2].startswith("distance_to_finest: ")
    assert said.splitlines()[-2].endswith(" in 4 steps, 0 in 8 steps")
    assert said.splitlines()[-1].startswith("verdict: in 1 step ")
    assert list(json.loads((tmp_path / "run" / "evaluation.json").read_text())["steps"]) == ["1", "2", "4", "8"]


def test_evaluate_finds_images_that_were_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez("here.npz", images=images, labels=np.arange(40) % 2)
    train(Path("run"), options=("train", "images", *DIGITS[2:], "--data", "here.npz"))
    words = ("evaluate", "run", "--steps", 1, 2, "--num", 20)
    assert shortcut(*words).code == 0
    before = json.loads(Path("run/evaluation.json").read_text())["steps"]
    os.renames("here.npz", "there/here.npz")
    assert "here.npz does not exist: choose a folder" in shortcut(*words).complaint
    assert shortcut(*words, "--data", "there/here.npz").code == 0
    after = json.loads(Path("run/evaluation.json").read_text())["steps"]
    assert [row | {"seconds": 0} for row in after.values()] == [row | {"seconds": 0} for row in before.values()]


@pytest.mark.parametrize(
    "words", [("--objective", "shortcut"), ("--network", "mlp"), ("--objective.pairing", "transport")]
)
def test_to_name_what_a_recipe_has_changes_nothing(words: tuple[str, ...]) -> None:
    assert cli.read(["train", "digits", *words]).recipe == RECIPES["digits"]


@pytest.mark.parametrize(
    ("words", "part", "name", "value"),
    [
        ("images --data x --task.image-size 8", "task", "image_size", 8),
        ("images --data x --task.image-size none", "task", "image_size", None),
        ("images --data x --task.channels 3", "task", "channels", 3),
        ("images --data x --task.channels none", "task", "channels", None),
        ("images --data x --task.no-flip", "task", "flip", False),
        ("images --data x --task.no-flip --task.flip", "task", "flip", True),
        ("images --data x --task.skip-damaged", "task", "skip_damaged", True),
        ("imitation --data x --task.observations image,state[:2]", "task", "observations", ("image", "state[:2]")),
        ("push-t --data x --task.observations none", "task", "observations", ()),
        ("digits --objective.clip none", "objective", "clip", None),
        ("digits --objective.clip=2", "objective", "clip", 2.0),
        ("digits --objective flow --objective.label-dropout .5", "objective", "label_dropout", 0.5),
        ("digits --network dit-s --network.depth 3", "network", "depth", 3),
        ("digits --learning-rate 1e-2", "training", "learning_rate", 0.01),
        ("digits --seed 1 --seed 2", "training", "seed", 2),
        ("digits --compile off", "training", "compile", "off"),
        ("digits --workers 3", "training", "workers", 3),
    ],
)
def test_words_become_values(words: str, part: str, name: str, value: object) -> None:
    for command in ("train", "compare"):
        changed = getattr(cli.read([command, *words.split()]).recipe, part)
        assert getattr(changed, name) == value
        assert type(getattr(changed, name)) is type(value)


def test_other_parts_of_a_recipe_stay_as_they_are() -> None:
    command = cli.read(["train", "digits", "--network", "dit-s", "--network.depth", "3", "--train-steps", "7"])
    recipe = RECIPES["digits"]
    assert command.recipe == dataclasses.replace(
        recipe,
        network=DiTConfig(width=384, depth=3, heads=6),
        training=dataclasses.replace(recipe.training, train_steps=7),
    )


def test_options_of_a_comparison_are_not_those_of_its_trainings() -> None:
    command = cli.read(
        [
            "compare",
            "digits",
            "--jobs",
            "3",
            "--workers",
            "2",
            "--steps",
            "1",
            "8",
            "8",
            "--seeds",
            "4",
            "--seed",
            "5",
            "--out",
            "x",
        ]
    )
    assert (command.jobs, command.steps, command.seeds) == (3, [1, 8, 8], 4)
    assert (command.recipe.training.workers, command.recipe.training.seed) == (2, 5)
    assert command.comparison().steps == [1, 8]
    assert command.comparison().recipe.training.train_steps == RECIPES["digits"].training.train_steps


def test_interpolate_draws_a_picture(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    outcome = shortcut("interpolate", digits, "--steps", 1, "--pairs", 2, "--points", 3, "--label", 4, "--out", out)
    assert outcome == (0, f"{out}\n", "")
    assert Image.open(out).format == "PNG"


def test_animate_draws_both_figures(tmp_path: Path) -> None:
    train(tmp_path / "run", "--snapshots", 3, options=POINTS)
    outcome = shortcut("animate", tmp_path / "run", "--out", tmp_path / "rainbow.gif")
    assert outcome == (0, f"{tmp_path / 'rainbow.gif'}\n{tmp_path / 'rainbow-flow.gif'}\n", "")
    assert Image.open(tmp_path / "rainbow.gif").n_frames == 3  # type: ignore[attr-defined]


def test_report_is_written_into_the_run(digits: Path) -> None:
    outcome = shortcut("report", digits)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == str(digits / "report.html")
    assert (digits / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    (digits / "report.html").unlink()
    assert shortcut("report", digits, "--out", digits / "other.html").out == f"{digits / 'other.html'}\n"
    (digits / "other.html").unlink()


@pytest.mark.multiprocess
def test_the_command_is_also_a_module(digits: Path, tmp_path: Path) -> None:
    outcome = shell("sample", digits, "--num", 2, "--out", tmp_path / "s.npz")
    assert outcome.code == 0, outcome.err
    assert shell("sample", digits, "--num", 0, "--out", tmp_path / "t.npz") == (
        2, "", "shortcut: error: --num must be >= 1, not 0\n",
    )  # fmt: skip
