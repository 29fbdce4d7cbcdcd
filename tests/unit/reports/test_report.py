"""The report of a run: every number and picture that it should hold is found again in the page."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shlex
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.paths import ROOT
from shortcut_models.base import Network, NetworkConfig, Objective, T, Task, X
from shortcut_models.cli import read
from shortcut_models.errors import UserError
from shortcut_models.evaluation.evaluate import evaluate
from shortcut_models.models.model import Model
from shortcut_models.networks import DiTConfig, MLPConfig
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.recipes.commands import evaluate_command, train_command
from shortcut_models.recipes.library import RECIPES
from shortcut_models.reports.report import write_report
from shortcut_models.tasks import Digits, Toy
from shortcut_models.training.fit import run_config
from shortcut_models.training.options import Training

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """An HTML page taken apart; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[bytes] = []
        self.cells: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        given = dict(attributes)
        for name in ("src", "href", "srcset", "data"):
            if name in given and not (tag == "a" and given[name].startswith("https://arxiv.org/")):
                kind, _, content = given[name].partition(";base64,")
                assert kind in ("data:image/png", "data:image/gif")
                self.images.append(base64.b64decode(content, validate=True))
        assert tag not in ("script", "link", "iframe")
        assert tag != "img" or given["alt"]
        if tag not in VOID:
            self.open.append(tag)
            if tag in ("td", "h2"):
                (self.cells if tag == "td" else self.titles).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            assert "url(" not in data
            assert "@import" not in data
            return
        self.text += data
        if "td" in self.open:
            self.cells[-1] += data
        if "h2" in self.open:
            self.titles[-1] += data


def make(run: Path, task: Task, objective: Objective, recipe: str = "", **more: Any) -> Model:
    """The directory of a run and its model, untrained."""
    network = MLPConfig(width=16, depth=1).build(task.shape, task.conditions)
    config = run_config(network, objective, task, Training(**{"train_steps": 40, **more}), recipe)
    run.mkdir(exist_ok=True)
    (run / "config.json").write_text(json.dumps(config))
    return Model(network, objective, task, step=30, recipe=recipe)


def log(run: Path) -> None:
    line = {"loss": 0.51234, "flow": 0.9, "d=1/1": 0.0123, "d=1/2": 0.0456, "d=1/4": 0.0789, "skipped": 2}
    line |= {"gradient_norm": 0.3, "steps_per_second": 12.5, "seconds": 3725.0}
    lines = [json.dumps({"step": step, **line}) for step in range(0, 31, 10)]
    (run / "metrics.jsonl").write_text(
        "\n".join([*lines[:-1], json.dumps({**json.loads(lines[-1]), "heldout_loss": 0.4567})])
    )


def page_of(run: Path, model: Model) -> Page:
    path = write_report(run, model)
    assert path == run / "report.html"
    assert not list(run.glob(".*"))
    return Page(path.read_text(encoding="utf-8"))


def test_a_report_holds_samples_quality_speed_training_commands_and_configuration(tmp_path: Path) -> None:
    model = make(tmp_path, Digits(), Shortcut(max_steps=8), "digits")
    log(tmp_path)
    result = evaluate(model, [1, 2, 4, 8], 20, quiet=True)
    (tmp_path / "evaluation.json").write_text(json.dumps(result))
    page = page_of(tmp_path, model)
    assert page.titles == [
        "The same noise, more steps", "Quality against steps", "Speed", "Training", "Make it again", "Configuration",
    ]  # fmt: skip
    parameters = sum(p.numel() for p in model.network.parameters())
    assert f"{parameters / 1000:.3g} k" in page.text
    for fact in ("30", "of 40 in 1 h 2 min", "0.5123", "0.4567", "0.04560", "d = 1/8", "12.50"):
        assert fact in page.text
    for steps, row in result["steps"].items():
        assert f"{steps} step" in page.text
        assert f"{row['precision']:.3f}" in page.cells
        assert f"{1000 * row['seconds'] / 20:.3g} ms" in page.text
    assert evaluate_command(result, tmp_path) in page.text
    assert str(train_command(json.loads((tmp_path / "config.json").read_text()), tmp_path)) in page.text
    assert page.cells[page.cells.index("condition width") + 1] == "128"


def test_the_samples_of_a_report_are_those_of_the_model_from_the_same_noise(tmp_path: Path) -> None:
    model = make(tmp_path, Digits(), Shortcut(max_steps=4), "digits")
    page = page_of(tmp_path, model)
    assert len(page.images) == 3
    for steps, content in zip((1, 2, 4), page.images, strict=True):
        expected = model.task.draw(model.sample(16, steps=steps, seed=0), 16)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), np.asarray(expected))


def test_what_is_missing_is_left_out_with_the_command_that_makes_it(tmp_path: Path) -> None:
    model = make(tmp_path, Toy(size=500), Shortcut(max_steps=4), "four-gaussians")
    page = page_of(tmp_path, model)
    assert "Training" not in page.titles
    assert "Speed" not in page.titles
    assert f"shortcut evaluate {tmp_path}" in page.text
    assert f"shortcut animate {tmp_path} --out rainbow.gif" in page.text


def test_the_report_of_a_2d_run_moves(tmp_path: Path) -> None:
    model = make(tmp_path, Toy(size=500), Shortcut(max_steps=4), "four-gaussians")
    (tmp_path / "snapshots").mkdir()
    for step in (1, 5):
        ends = step * np.random.default_rng(0).normal(size=(3, 6, 2))
        np.savez(tmp_path / "snapshots" / f"step_{step:08d}.npz", ema=ends, raw=ends[0], noise=ends[0])
    images = [Image.open(io.BytesIO(content)) for content in page_of(tmp_path, model).images]
    assert [image.format for image in images] == ["PNG"] * 3 + ["GIF"]
    assert images[-1].n_frames == 2


def test_a_flow_matching_run_of_ones_own_has_a_report(tmp_path: Path) -> None:
    model = make(tmp_path, Toy(size=500), FlowMatching(max_steps=2), "<b>mine & yours</b>")
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "loss": 1.5, "flow": 1.5}\n{"step": 20}\n{"step": 3')
    page = page_of(tmp_path, model)
    assert "<b>mine & yours</b>" in page.text
    assert "trained from Python" in page.text
    assert "1.500" in page.text
    assert "Last loss at each step size" not in page.text


def test_an_evaluation_of_other_weights_says_so(tmp_path: Path) -> None:
    model = make(tmp_path, Toy(size=500), Shortcut(max_steps=2))
    row = {"sliced_wasserstein": 0.1, "seconds": 1.0}
    result = {"num": 10, "seed": 3, "guidance": 1.5, "step": 20, "machine": {}, "steps": {"1": row}}
    (tmp_path / "evaluation.json").write_text(json.dumps(result))
    text = page_of(tmp_path, model).text
    assert "of training step 20" in text
    assert "seed 3, guidance 1.5" in text
    assert "100 ms" in text


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"steps": {"1": {}}, "num": 3}', '{"steps": {}, "num": 3}'])
def test_a_damaged_evaluation_is_named(tmp_path: Path, content: str) -> None:
    model = make(tmp_path, Toy(size=500), Shortcut(max_steps=1))
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(UserError, match=r"evaluation\.json is damaged: run `shortcut evaluate"):
        write_report(tmp_path, model)


def test_a_report_needs_a_run(tmp_path: Path) -> None:
    model = make(tmp_path / "run", Toy(size=500), Shortcut(max_steps=2))
    with pytest.raises(UserError, match=r"config\.json is a file"):
        write_report(tmp_path / "run" / "config.json", model)
    with pytest.raises(UserError, match=r"is no run|is not a run"):
        write_report(tmp_path, model)


def test_a_report_can_be_written_elsewhere(tmp_path: Path) -> None:
    model = make(tmp_path / "run", Toy(size=500), Shortcut(max_steps=1))
    out = tmp_path / "elsewhere.html"
    assert write_report(tmp_path / "run", model, out) == out
    assert Page(out.read_text(encoding="utf-8")).images


def change(name: str, part: str, **fields: Any) -> dict[str, Any]:
    """A recipe's configuration with some fields of a part changed."""
    recipe = RECIPES[name]
    recipe = dataclasses.replace(recipe, **{part: dataclasses.replace(getattr(recipe, part), **fields)})
    return described(name, recipe)


class Unbuilt(Network):
    """A network with a configuration and nothing else."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        raise NotImplementedError


def described(name: str, recipe: Any) -> dict[str, Any]:
    return run_config(Unbuilt(recipe.network), recipe.objective, recipe.task, recipe.training, name)


CHANGES = [
    *(described(name, recipe) for name, recipe in RECIPES.items()),
    change(
        "digits",
        "training",
        train_steps=7,
        learning_rate=2.5e-4,
        keep_best="heldout_loss",
        device="cpu",
        schedule="constant",
    ),
    change("digits", "network", width=48),
    change("digits", "objective", max_steps=16, guidance=1.5),
    change("moons", "task", distribution="spirals", size=77),
    change("images", "task", data="/data/my cats & dogs", image_size=32, channels=3, flip=False, classes=0),
    described("digits", dataclasses.replace(RECIPES["digits"], network=DiTConfig(width=24, depth=1, heads=2))),
    described("digits", dataclasses.replace(RECIPES["digits"], objective=FlowMatching(label_dropout=0.2))),
]


@pytest.mark.parametrize("config", CHANGES)
def test_the_train_command_leads_back_to_the_configuration(config: dict[str, Any]) -> None:
    if config["task"].get("data", "") is None:
        config["task"]["data"] = "photos"  # a run needs data
    command = train_command(config, Path("my runs/a"))
    assert command is not None
    shortcut, *words = shlex.split(command)
    made: Any = read(words)
    assert (shortcut, words[0], made.run) == ("shortcut", "train", Path("my runs/a"))
    assert described(made.name, made.recipe) == config


def test_the_command_of_a_recipe_as_it_stands_is_short() -> None:
    config = described("digits", RECIPES["digits"])
    assert train_command(config, Path("runs/digits")) == "shortcut train digits --run runs/digits"


def test_a_run_that_learned_from_a_model_has_no_command_as_that_model_may_be_anywhere() -> None:
    config = described("digits", RECIPES["digits"]) | {"teacher": {"recipe": "", "step": 1, "sha256": "0"}}
    assert train_command(config, Path("a")) is None


@pytest.mark.parametrize("part", ["recipe", "task", "network", "objective"])
def test_parts_from_outside_the_package_have_no_command(part: str) -> None:
    config = described("digits", RECIPES["digits"])
    config |= {part: "mine" if part == "recipe" else {"name": None, "class": "mine.Own"}}
    assert train_command(config, Path("a")) is None


def test_the_evaluate_command_asks_for_the_same_again() -> None:
    found = {"steps": {"1": {}, "128": {}}, "num": 50, "seed": 2, "guidance": 1.5}
    expected = "shortcut evaluate 'a b' --steps 1 128 --num 50 --seed 2 --guidance 1.5"
    assert evaluate_command(found, Path("a b")) == expected
    assert evaluate_command(None, Path("a")) == "shortcut evaluate a"


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>"])
def test_names_cannot_add_tags_to_the_page(tmp_path: Path, name: str) -> None:
    run = tmp_path / name.replace("/", "|")
    model = make(run, Toy(size=500), Shortcut(max_steps=2), name)
    row = {name: 0.5, "seconds": 1.0}
    machine = {"device": name, "architecture": name, "cores": name, "torch": name}
    result = {"num": 10, "seed": 3, "guidance": 1.0, "step": 30, "machine": machine, "steps": {"1": row}}
    (run / "evaluation.json").write_text(json.dumps(result))
    (run / "metrics.jsonl").write_text(json.dumps({"step": 10, "loss": 1.5, "d=1/1": 0.5, name: 1.0}) + "\n")
    text = write_report(run, model).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img src=x" not in text
    page = Page(text)
    assert page.text.count(name) >= 6  # title, heading, column of the table, and the machine
    assert run.name in page.text


@pytest.mark.multiprocess
def test_a_wheel_has_the_templates_and_the_style(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in ("templates/report.html", "templates/macros.html", "templates/report.css"):
        assert f"shortcut_models/reports/{file}" in names
    assert "shortcut_models/drawing/shortcut.mplstyle" in names
