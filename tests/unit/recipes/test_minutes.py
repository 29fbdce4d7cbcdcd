"""A recipe fitted to a time: what is chosen on fast and slow machines, what is kept, and how such a run resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import demonstrations, vaes
from helpers.image_files import make_folder, pictures
from helpers.runs import assert_refused, refusal, same, shortcut, steps_of, tensors
from shortcut_models import cli
from shortcut_models.base import Network
from shortcut_models.objectives import FlowMatching
from shortcut_models.recipes import minutes
from shortcut_models.recipes.candidates import CANDIDATES
from shortcut_models.recipes.library import RECIPES, Recipe
from shortcut_models.recipes.minutes import fit_to_minutes
from shortcut_models.recipes.train import train_recipe
from shortcut_models.tasks import Images
from shortcut_models.training.plan import TimeLimit

SMALL = ("--task.size", 300, "--snapshots", 0, "--objective.max-steps", 8, "--device", "cpu", "--precision", "fp32")
POINTS = ("train", "four-gaussians", *SMALL)
Speed = Callable[[Network, tuple[int, ...], int], float]
"""network, shape and batch -> seconds of a step"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Speed], list[tuple[int, ...]]]:
    """Return a function that sets how fast the machine is; it returns a list of the shapes that are measured."""

    def install(speed: Speed) -> list[tuple[int, ...]]:
        measured: list[tuple[int, ...]] = []

        def measure(network: Network, objective: Any, task: Any, training: Any, *rest: Any, **options: Any) -> float:
            measured.append(task.shape)
            return speed(network, task.shape, training.batch_size)

        monkeypatch.setattr(minutes, "measure", measure)
        return measured

    return install


def fitted(recipe: Recipe, run: Path, time_in_minutes: float, *keep: str, name: str = "own") -> Recipe:
    return fit_to_minutes(name, recipe, run, float(time_in_minutes), begin=time.monotonic(), keep=keep, quiet=True)


def photos(root: Path, side: int, **changes: Any) -> Recipe:
    data = make_folder(root, pictures(20, side, colour=True), None)
    return replace(RECIPES["images"], task=Images(data=data, **changes))


def side_of(recipe: Recipe) -> int | None:
    assert isinstance(recipe.task, Images)
    return recipe.task.image_size


def test_candidates_grow() -> None:
    for rows in CANDIDATES.values():
        assert rows[0].steps == 0
        for before, after in pairwise(rows):
            assert before.steps < after.steps
            assert (before.image_size or 0) <= (after.image_size or 0)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_candidates_and_is_one(name: str) -> None:
    recipe = RECIPES[name]
    found = minutes._options(recipe, {"task.image_size"})
    assert len(found) > 1
    assert recipe in [option for _, option in found]


def test_more_time_or_a_faster_machine_trains_more(tmp_path: Path, machine: Any) -> None:
    recipe = photos(tmp_path / "photos", 70)
    sizes = []
    for seconds, time_here in ((60.0, 1), (0.2, 1), (0.2, 10), (0.2, 100), (0.02, 100), (0.002, 1000)):
        measured = machine(lambda network, shape, batch, s=seconds: s * shape[1] / 32)
        found = fitted(recipe, tmp_path / "run", time_here)
        parameters = sum(p.numel() for p in found.network.build((3, 32, 32), {}).parameters())
        sizes.append((side_of(found), parameters, found.training.train_steps))
        assert len(measured) <= 1 + len(CANDIDATES[Images])
        share = found.training.train_steps * seconds * side_of(found) / 32 / (60 * time_here)
        assert share <= minutes.SHARE or found.training.train_steps == 1
        assert not (tmp_path / "run").exists()
    assert [size for size, *_ in sizes] == sorted(size for size, *_ in sizes)  # type: ignore[type-var]
    assert sizes[0] == (32, sizes[0][1], 1)
    assert sizes[1][2] > 100
    assert sizes[-1][0] == 70


def test_what_depends_on_the_steps_follows_them(tmp_path: Path, machine: Any) -> None:
    recipe = photos(tmp_path / "photos", 64)
    machine(lambda network, shape, batch: 1.0)
    training = fitted(recipe, tmp_path / "run", 10).training
    steps = training.train_steps
    assert 450 < steps <= minutes.SHARE * 599 / 1.0  # the last preview takes some seconds
    assert training.warmup == steps // 10
    assert training.ema == pytest.approx(1 - 17 / steps, abs=1e-4)
    assert training.sample_every == training.heldout_every == training.checkpoint_every == steps // 5


def test_a_candidate_brings_its_options_but_for_those_given(tmp_path: Path, machine: Any) -> None:
    machine(lambda network, shape, batch: 1.0)
    first, recipe = CANDIDATES[Images][0], photos(tmp_path / "photos", 64)
    found = fitted(recipe, tmp_path / "run", 10)
    assert found.training.learning_rate == first.training["learning_rate"] != recipe.training.learning_rate
    for name, value in first.objective.items():
        assert getattr(found.objective, name) == value != getattr(recipe.objective, name)
    keep = ("objective.guidance", "training.learning_rate")
    kept = fitted(recipe, tmp_path / "run", 10, *keep)
    assert kept.objective.guidance == recipe.objective.guidance
    assert kept.training.learning_rate == recipe.training.learning_rate
    assert fitted(recipe, tmp_path / "run", 10, "network").training.learning_rate == recipe.training.learning_rate
    flow = replace(recipe, objective=FlowMatching())
    assert fitted(flow, tmp_path / "run", 10).objective == flow.objective


@pytest.mark.parametrize("side", [8, 28])
def test_images_are_not_enlarged(side: int, tmp_path: Path, machine: Any) -> None:
    machine(lambda network, shape, batch: 0.01)
    for time_here in (0.1, 1000):
        assert side_of(fitted(photos(tmp_path / "photos", side), tmp_path / "run", time_here)) == side


def test_photos_of_mixed_sizes_need_no_size(tmp_path: Path, machine: Any) -> None:
    make_folder(tmp_path / "photos", pictures(4, 40, colour=True), None)
    (tmp_path / "photos" / "003.png").rename(tmp_path / "photos" / "9.png")
    recipe = photos(tmp_path / "photos", 50)
    machine(lambda network, shape, batch: 1.0)
    assert side_of(fitted(recipe, tmp_path / "run", 1)) == 32


def test_what_was_given_is_kept(tmp_path: Path, machine: Any) -> None:
    machine(lambda network, shape, batch: 0.001)
    recipe = photos(tmp_path / "photos", 64, image_size=16)
    found = fitted(recipe, tmp_path / "run", 1, "network", "training.batch_size", "training.warmup", "training.ema")
    assert side_of(found) == 16
    assert found.network == recipe.network
    for name in ("batch_size", "warmup", "ema"):
        assert getattr(found.training, name) == getattr(recipe.training, name)


def test_what_fits_as_it_is_stays_as_it_is(tmp_path: Path, machine: Any) -> None:
    machine(lambda network, shape, batch: 0.001)
    for name in ("digits", "four-gaussians"):
        assert fitted(RECIPES[name], tmp_path / "run", 60) == RECIPES[name]


def test_the_command_line_says_which_options_were_given() -> None:
    words = ["train", "digits", "--batch-size", "512", "--network.width=512", "--no-ema-warmup", "--objective", "flow"]
    given = cli.read(words).given  # type: ignore[attr-defined]
    named = {"training.batch_size", "network.width", "training.ema_warmup"}
    assert given == {"training", "network", "objective"} | named
    assert not cli.read(["train", "digits"]).given  # type: ignore[attr-defined]


def test_a_run_resumes_with_what_was_chosen(tmp_path: Path, machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(lambda network, shape, batch: 0.1)
    words = (*POINTS, "--minutes", "0.05", "--run", tmp_path / "run", "--network.width", 16)
    monkeypatch.setattr(TimeLimit, "__init__", lambda *args, **options: None)
    monkeypatch.setattr(TimeLimit, "on_step", lambda limit, trainer: trainer.step == 7 and trainer.stop())
    first = shortcut(*words)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    steps = config["training"]["train_steps"]
    assert f"for 0.05 minutes: --train-steps {steps} " in first.err
    assert 7 < steps <= 25
    assert steps_of(tmp_path / "run")[-1] == 7

    machine(lambda network, shape, batch: pytest.fail("measured again"))
    monkeypatch.setattr(TimeLimit, "on_step", lambda limit, trainer: None)
    assert shortcut(*words).code == 0
    assert steps_of(tmp_path / "run")[-1] == steps
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == config

    chosen = {name: config["training"][name] for name in minutes.CHOSEN}
    numbers = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert shortcut(*POINTS, "--network.width", 16, *numbers, "--run", tmp_path / "plain").code == 0
    assert same(tensors(tmp_path / "run"), tensors(tmp_path / "plain"))

    assert_refused([*words, "--batch-size", 17], "was started with --batch-size 256, not 17", tmp_path / "run")
    assert_refused([*words[:1], "moons", *words[2:]], "holds a run of recipe four-gaussians", tmp_path / "run")


@pytest.mark.parametrize("kind", ["latents", "policy", "images", "digits"])
def test_every_kind_of_task_is_measured_and_trained(kind: str, tmp_path: Path) -> None:
    words: list[object] = {
        "latents": lambda: ["afhq-cat-256", "--data", vaes.photos(tmp_path / "cats"),
                            "--vae", vaes.save_tiny(tmp_path / "vae"),
                            "--task.image-size", vaes.SIDE, "--task.classes", 3],
        "policy": lambda: ["push-t", "--data", demonstrations.make_native(tmp_path), "--task.observations", "state",
                           "--task.chunk", 4, "--task.execute", 2],
        "images": lambda: ["images", "--data", make_folder(tmp_path / "photos", pictures(20, 9, colour=True), None)],
        "digits": lambda: ["digits"],
    }[kind]()  # fmt: skip
    few = ("--batch-size", 8, "--objective.max-steps", 4, "--device", "cpu", "--precision", "fp32")
    done = shortcut("train", *words, *few, "--minutes", "0.02", "--run", tmp_path / "run")
    assert done.code == 0, done.err
    steps = json.loads((tmp_path / "run" / "config.json").read_text())["training"]["train_steps"]
    assert f" --train-steps {steps} " in done.err
    assert 1 <= steps_of(tmp_path / "run")[-1] <= steps


def test_it_ends_with_its_time_and_says_so(tmp_path: Path, machine: Any) -> None:
    machine(lambda network, shape, batch: 1e-6)  # far slower than that
    recipe = replace(RECIPES["four-gaussians"], training=replace(RECIPES["moons"].training, snapshots=0))
    words = (*POINTS, "--minutes", "0.02", "--sample-every", 10**6, "--heldout-every", 10**6, "--run", tmp_path)
    ended = shortcut(*words)
    assert ended.code == 0
    done = steps_of(tmp_path)[-1]
    assert (
        f"reached the time limit of 0.02 minutes at step {done:,} of {recipe.training.train_steps:,}: the run is saved"
        in ended.err
    )
    shortcut(*words)
    assert steps_of(tmp_path)[-1] > done


@pytest.mark.parametrize("method", ["progressive", "reflow"])
def test_methods_that_learn_from_a_model_are_refused(method: str, tmp_path: Path) -> None:
    words = [*POINTS, "--objective", method, "--minutes", 1, "--run", tmp_path / "run"]
    assert_refused(words, "--minutes is for methods that learn from data", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--minutes 0", "--minutes must be > 0, not 0.0"),
        ("--minutes -1", "--minutes must be > 0, not -1.0"),
        ("--minutes abc", "--minutes must be a number, not 'abc'"),
        ("--minutes inf", "--minutes must be a number or none, not inf"),
        ("--minutes", "--minutes needs a value"),
        ("--minutes 1 --train-steps 5", "--minutes chooses the number of steps: leave --train-steps out"),
        ("--train-steps=16000 --minutes 1", "--minutes chooses the number of steps: leave --train-steps out"),
        ("--minutes 1 --device gpu", "device 'gpu' is not available here"),
        ("--minutes 1 --accumulate 5", "accumulate 5 does not divide batch-size 256"),
        ("--minutes 1 --network dit", "a DiT takes images"),
    ],
)
def test_bad_input(words: str, message: str, tmp_path: Path) -> None:
    assert_refused([*POINTS, "--run", tmp_path / "run", *words.split()], message, tmp_path)


def test_bad_directories_and_data_are_refused_before_the_work(tmp_path: Path, machine: Any) -> None:
    measured = machine(lambda network, shape, batch: 1.0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    assert_refused([*POINTS, "--minutes", 1, "--run", tmp_path / "other"], "is not a run directory", tmp_path)
    (tmp_path / "empty").mkdir()
    images = ["train", "images", "--minutes", 1, "--run", tmp_path / "run", "--data"]
    assert_refused([*images, tmp_path / "empty"], "no images in", tmp_path)
    assert_refused([*images, tmp_path / "none"], "does not exist", tmp_path)
    assert not measured
    with refusal("minutes must be > 0, not -2"):
        train_recipe("moons", RECIPES["moons"], tmp_path / "run", minutes=-2.0, quiet=True)


def test_too_much_memory_is_too_slow(tmp_path: Path, machine: Any) -> None:
    def speed(network: Network, shape: tuple[int, ...], batch: int) -> float:
        if sum(p.numel() for p in network.parameters()) > 500_000:
            raise torch.OutOfMemoryError
        return 1e-6

    machine(speed)
    assert fitted(photos(tmp_path / "photos", 64), tmp_path / "run", 100).network == CANDIDATES[Images][0].network
