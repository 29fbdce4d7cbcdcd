"""Trained models: what they sample, from what they are loaded, and what they refuse."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from helpers.runs import POINTS, train
from shortcut_models.errors import UserError
from shortcut_models.evaluation.evaluate import data_deviation, evaluate
from shortcut_models.evaluation.results import table
from shortcut_models.models import checkpoint
from shortcut_models.models.checkpoint import HEADER, MODEL
from shortcut_models.models.loading import load
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.randomness import sample_noise
from shortcut_models.recipes.library import RECIPES
from shortcut_models.system.hashing import HASH, hash_tensors
from shortcut_models.tasks import Digits, Toy


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "digits"
    train(run, "--learning-rate", 0.03, "--ema", 0.5)
    return run


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "points"
    train(run, "--learning-rate", 0.03, "--ema", 0.5, options=POINTS)
    return run


@pytest.fixture(scope="module")
def model(digits: Path) -> Model:
    return load(digits)


def file_of(run: Path) -> Path:
    return run / "checkpoints" / "00000012" / MODEL


# Samples


def test_digits_come_in_whole_numbers_from_0_to_16(model: Model) -> None:
    made = model.sample(21, steps=2)
    assert made.shape == (21, 8, 8)
    assert made.dtype == np.float32
    assert ((made >= 0) & (made <= 16) & (made == made.round())).all()
    assert made.std() > 0


def test_points_come_as_they_are(points: Path) -> None:
    made = load(points).sample(9, steps=4)
    assert made.shape == (9, 2)
    assert made.dtype == np.float32
    assert load(points).labels(3).tolist() == [-1, -1, -1]


def test_a_sample_depends_on_its_own_number_and_seed_alone(points: Path) -> None:
    model = load(points)
    whole = model.sample(23, steps=3, seed=4)
    for batch_size in (1, 7, 23, 1000):
        np.testing.assert_allclose(model.sample(23, steps=3, seed=4, batch_size=batch_size), whole, atol=1e-6)
    for num in (1, 10):
        np.testing.assert_allclose(model.sample(num, steps=3, seed=4), whole[:num], atol=1e-6)
    other = model.sample(23, steps=3, seed=5)
    assert np.abs(other - whole).max(1).min() > 1e-3
    assert len(np.unique(whole.round(5), axis=0)) == 23


def test_a_digit_does_not_depend_on_the_batch_either(model: Model) -> None:
    whole = model.sample(30, steps=2, guidance=1.5)
    assert np.array_equal(model.sample(30, steps=2, guidance=1.5, batch_size=4), whole)
    assert np.array_equal(model.sample(11, steps=2, guidance=1.5), whole[:11])


def test_samples_are_the_flow_of_the_documented_noise(points: Path) -> None:
    model = load(points)
    noise = sample_noise(2, range(5), (2,))
    with torch.no_grad():
        once = noise + model.network(noise, torch.zeros(5), torch.ones(5), None)
    np.testing.assert_allclose(model.sample(5, steps=1, seed=2), once.numpy(), atol=1e-6)


def test_labels_are_all_in_turn_one_for_all_or_one_each(model: Model) -> None:
    assert model.classes == 10
    assert model.labels(12).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert model.labels(3, 7).tolist() == [7, 7, 7]
    assert model.labels(3, [1, 0, 9]).tolist() == [1, 0, 9]
    in_turn, threes = model.sample(20), model.sample(20, label=3)
    assert np.array_equal(in_turn[[3, 13]], threes[[3, 13]])
    assert np.array_equal(model.sample(20, label=model.labels(20).tolist()), in_turn)
    assert not np.array_equal(model.sample(20, label=4), threes)


def test_guidance_is_linear_between_without_and_with_the_label(model: Model) -> None:
    noise, labels = sample_noise(0, range(6), (1, 8, 8)), torch.arange(6)
    ends = {w: model.sample_from(noise, 1, {"label": labels}, w, decode=False) for w in (0.0, 1.0, 2.5)}
    torch.testing.assert_close(ends[2.5], ends[0.0] + 2.5 * (ends[1.0] - ends[0.0]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ends[0.0], model.sample_from(noise, 1, {"label": (labels + 1) % 10}, 0.0, decode=False))
    assert not torch.equal(ends[0.0], ends[1.0])


def test_sampling_leaves_the_network_and_the_generator_alone(model: Model) -> None:
    model.network.train()
    torch.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    model.sample(3)
    assert model.network.training
    assert torch.equal(torch.rand(3), first)
    model.network.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num must be a whole number of at least 1, not 0"),
        ({"num": -3}, "num must be a whole number of at least 1"),
        ({"num": 2.5}, "num must be a whole number"),
        ({"num": 10**12}, "make fewer at a time"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"batch_size": 0}, "batch-size must be a whole number of at least 1"),
        ({"guidance": math.nan}, "guidance must be a number of at least 0"),
        ({"guidance": math.inf}, "guidance must be a number of at least 0"),
        ({"guidance": -1.0}, "guidance must be a number of at least 0"),
        ({"guidance": 1e300}, "the samples are not finite: lower guidance"),
        ({"steps": 0}, "steps must be a whole number from 1 to 128, not 0"),
        ({"steps": 2.5}, "steps must be a whole number, not 2.5"),
        ({"steps": 129}, "steps must be a whole number from 1 to 128, not 129"),
        ({"label": 10}, "label must be a whole number from 0 to 9, not 10"),
        ({"label": -1}, "label must be a whole number from 0 to 9, not -1"),
        ({"label": 2.0}, "label must be a whole number from 0 to 9"),
        ({"label": [1, 2]}, "label must be one class or 4 of them, not 2"),
        ({"label": [1, 2, 3, 11]}, "label must be a whole number from 0 to 9"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_numbers_out_of_range_are_refused(model: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.sample(**{"num": 4} | options)


def test_a_model_without_labels_takes_none(points: Path) -> None:
    model = load(points)
    with pytest.raises(UserError, match="trained without labels: leave label out"):
        model.sample(2, label=0)
    with pytest.raises(UserError, match="guidance needs a model with labels"):
        model.sample(2, guidance=2.0)


# Loading


def test_a_run_its_file_and_a_copy_of_it_are_the_same_model(digits: Path, tmp_path: Path) -> None:
    lone = shutil.copy(file_of(digits), tmp_path / "lone.safetensors")
    made = [load(path).sample(8, steps=4, seed=3) for path in (digits, str(digits), file_of(digits), lone)]
    assert all(np.array_equal(one, made[0]) for one in made)
    found = load(lone)
    assert (found.step, found.recipe, found.task) == (12, "digits", Digits())
    assert found.objective == RECIPES["digits"].objective
    assert found.network.config == MLPConfig(width=16, depth=1)
    assert not found.network.training


def test_given_parts_stand_in_for_those_of_the_file(digits: Path) -> None:
    network, objective = MLPConfig(width=16, depth=1).build((1, 8, 8), Digits().conditions), FlowMatching(max_steps=64)
    found = load(digits, network=network, objective=objective)
    assert found.network is network
    assert found.objective is objective
    assert torch.equal(network.proj_out.weight, load(digits).network.proj_out.weight)
    with pytest.raises(UserError, match="do not fit the network"):
        load(digits, task=Toy())
    with pytest.raises(UserError, match="do not fit the network"):
        load(digits, network=MLPConfig(width=24, depth=1).build((1, 8, 8), Digits().conditions))


def test_a_run_whose_newest_checkpoint_is_damaged_gives_the_one_before(digits: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(digits, tmp_path / "run"))
    shutil.copytree(run / "checkpoints" / "00000012", run / "checkpoints" / "00000020")
    (run / "checkpoints" / "00000020" / MODEL).write_bytes(b"\0" * 100)
    with pytest.warns(UserWarning, match="00000020/model.safetensors is damaged"):
        assert load(run).step == 12


HEADERS: dict[str, tuple[Any, str]] = {
    "no object": ([1], "is not a JSON object"),
    "empty": ({}, "is not understood"),
    "task missing": ({"task": None}, "is not understood"),
    "unknown task": ({"task": {"name": "dogs"}}, "task 'dogs' is unknown"),
    "unknown objective": ({"objective": {"name": "magic"}}, "objective 'magic' is unknown"),
    "unknown network": ({"network": {"name": "transformer9"}}, "network 'transformer9' is unknown"),
    "network of another size": ({"network": {"name": "mlp", "width": 24}}, "do not fit the network"),
    "network with another field": ({"network": {"name": "mlp", "girth": 3}}, "MLPConfig has no field 'girth'"),
    "network of a wrong type": ({"network": {"name": "mlp", "width": "wide"}}, "width must be a whole number"),
    "network that cannot be": ({"network": {"name": "dit", "patch_size": 3}}, "patch-size 3 does not divide"),
    "sized name of a network": ({"network": {"name": "dit-s", "width": 8}}, "is not understood"),
    "objective out of range": ({"objective": {"name": "shortcut", "max_steps": 100}}, "must be a power of two"),
    "name that is a list": ({"network": {"name": ["mlp"]}}, "is not understood"),
    "step that is text": ({"step": "last"}, "is not understood"),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.usefixtures("annotations_unchecked")
def test_configurations_that_make_no_sense_are_refused(digits: Path, tmp_path: Path, name: str) -> None:
    change, message = HEADERS[name]
    weights, config = checkpoint.read(file_of(digits))
    changed = config | change if isinstance(change, dict) and change else change
    saved = checkpoint.save(tmp_path, 1, weights, {}, changed, 1)
    with pytest.raises(UserError, match=message):
        load(saved / MODEL)


def test_a_configuration_that_is_no_json_is_refused(digits: Path, tmp_path: Path) -> None:
    weights, _ = checkpoint.read(file_of(digits))
    text = '{"task": '
    metadata = {HEADER: text, HASH: hash_tensors(weights, text)}
    safetensors.torch.save_file(weights, tmp_path / "broken.safetensors", metadata)
    with pytest.raises(UserError, match="is not a JSON object"):
        load(tmp_path / "broken.safetensors")


# Evaluation


def test_an_evaluation_says_what_was_measured_on_what(model: Model) -> None:
    result = evaluate(model, [4, 1, 4], 40, seed=2, guidance=1.5, quiet=True)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert {k: result[k] for k in ("recipe", "step", "num", "seed", "guidance", "precision")} == {
        "recipe": "digits", "step": 12, "num": 40, "seed": 2, "guidance": 1.5, "precision": "fp32",
    }  # fmt: skip
    assert {"system", "cores", "device", "threads", "torch"} <= result["machine"].keys()
    assert list(result["steps"]) == ["1", "4"]
    neighbours = {"precision", "recall", "density", "coverage"}
    measures = {"accuracy", *neighbours, "pixel_frechet"}
    assert set(result["real"]) == set(result["chance"]) == measures
    measures |= {"seconds"}
    assert all(set(row) == measures for row in result["steps"].values())
    for name in measures:
        assert name in table(result)


def test_the_distance_is_to_the_finest_over_the_deviation_of_the_data(points: Path) -> None:
    model = load(points)
    found = evaluate(model, [1, 8], 50, quiet=True)["steps"]
    one, finest = model.sample(50, steps=1), model.sample(50, steps=8)
    held_out = model.task.dataset("test").data.numpy()
    deviation = np.sqrt(((held_out - held_out.mean(0)) ** 2).mean())
    assert data_deviation(model.task) == pytest.approx(deviation, rel=1e-5)
    assert found["1"]["distance_to_finest"] == pytest.approx(
        np.linalg.norm(one - finest, axis=1).mean() / deviation, rel=1e-4
    )
    assert found["8"]["distance_to_finest"] == 0


def test_a_few_samples_are_judged_by_what_so_few_can_tell(model: Model) -> None:
    row = evaluate(model, [1], 3, quiet=True)["steps"]["1"]
    assert set(row) == {"accuracy", "pixel_frechet", "seconds"}


def test_only_the_numbers_of_steps_asked_for_are_made(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    sample = Model.sample_from
    monkeypatch.setattr(Model, "sample_from", lambda self, x, n, *a, **o: made.append(n) or sample(self, x, n, *a, **o))
    evaluate(model, [4, 1], 10, quiet=True)
    assert made == [1, 4]


def test_each_row_is_given_as_soon_as_it_is_measured(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    sample = Model.sample_from
    note = lambda self, x, n, *a, **o: said.append(f"makes {n}") or sample(self, x, n, *a, **o)
    monkeypatch.setattr(Model, "sample_from", note)
    rows: dict[str, dict[str, float]] = {}
    result = evaluate(
        model, [4, 1], 10, quiet=True, on_row=lambda name, row: said.append(name) or rows.update({name: row})
    )
    assert said == ["chance", "real", "makes 1", "1", "makes 4", "4"]
    assert {name: rows[name] for name in ("chance", "real")} == {name: result[name] for name in ("chance", "real")}
    assert {name: rows[name] for name in ("1", "4")} == result["steps"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "num must be"),
        ({"seed": -1}, "seed must be"),
        ({"batch_size": 0}, "batch-size must be"),
        ({"guidance": math.nan}, "guidance must be"),
        ({"num": 10**12}, "make fewer at a time"),
        ({"budgets": [0]}, "steps must be a whole number from 1 to 128"),
    ],
)
def test_an_evaluation_refuses_what_sampling_refuses(model: Model, options: dict[str, Any], message: str) -> None:
    given = {"budgets": [1], "num": 4} | options
    with pytest.raises(UserError, match=message):
        evaluate(model, given.pop("budgets"), given.pop("num"), quiet=True, **given)
