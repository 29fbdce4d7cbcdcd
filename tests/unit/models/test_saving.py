"""Models that are saved without a run."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import shortcut_models as sm
from helpers.models import FLOWERS, model_of
from helpers.runs import refusal, shortcut, tree
from shortcut_models.base import Losses, Network, T, X
from shortcut_models.models import checkpoint
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import Digits, Toy


@pytest.fixture(scope="module")
def model() -> sm.Model:
    return model_of(FLOWERS)


@pytest.mark.parametrize("name", ["flowers.safetensors", "flowers", "new/folders/flowers", "model.safetensors"])
def test_a_saved_model_makes_the_same_samples(model: sm.Model, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / name)
    again = sm.load(str(tmp_path / name))
    assert (again.task, again.objective, again.step, again.recipe) == (model.task, model.objective, 7, "mine")
    assert again.network.config == model.network.config
    assert not again.network.training
    for steps in (1, 3, 16):
        options: dict[str, Any] = {"steps": steps, "seed": 3, "guidance": 1.5}
        np.testing.assert_array_equal(again.sample(5, **options), model.sample(5, **options))
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_a_folder_has_the_layout_of_the_hub(model: sm.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "flowers")
    assert sorted(os.listdir(tmp_path / "flowers")) == ["config.json", "model.safetensors"]
    lone = shutil.copy(tmp_path / "flowers" / "model.safetensors", tmp_path / "lone.safetensors")
    np.testing.assert_array_equal(sm.load(lone).sample(3), model.sample(3))


def test_the_precision_of_sampling_is_saved(tmp_path: Path) -> None:
    model = model_of(FLOWERS)
    model.precision = "bf16"
    model.save(tmp_path / "flowers")
    assert sm.load(tmp_path / "flowers").precision == "bf16"
    np.testing.assert_array_equal(sm.load(tmp_path / "flowers").sample(3, steps=4), model.sample(3, steps=4))


def test_a_model_of_a_loop_of_ones_own(tmp_path: Path) -> None:
    task, objective = Toy("moons", size=100), Shortcut(max_steps=8)
    network = MLPConfig(width=16, depth=1).build(task.shape, task.conditions)
    optimizer = torch.optim.Adam(network.parameters())
    batch = task.dataset("train").__getitems__(list(range(32)))
    for _ in range(3):
        losses: Losses = objective.losses(network, network, batch)
        optimizer.zero_grad()
        losses.per_example.mean().backward()
        optimizer.step()
    model = sm.Model(network, objective, task)
    model.save(tmp_path / "moons.safetensors")
    assert network.training, "saving leaves the network as it is"
    np.testing.assert_array_equal(sm.load(tmp_path / "moons.safetensors").sample(9, steps=4), model.sample(9, steps=4))
    out = tmp_path / "s.npz"
    assert shortcut("sample", tmp_path / "moons.safetensors", "--num", 9, "--out", out).code == 0
    np.testing.assert_array_equal(np.load(out)["steps_1"], model.sample(9))


class Own(Network):
    """A network from outside the package, two of whose weights are one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = self.first

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        return self.second(self.first(x))


def test_a_network_from_outside_is_passed_to_load(tmp_path: Path) -> None:
    model = sm.Model(Own(), Shortcut(max_steps=8), Toy())
    model.save(tmp_path / "own")
    with refusal("network is test_saving.Own, from outside the package: pass load.*network="):
        sm.load(tmp_path / "own")
    np.testing.assert_array_equal(sm.load(tmp_path / "own", network=Own()).sample(4), model.sample(4))


def test_a_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Odd(Own):
        def get_extra_state(self) -> str:
            return "more"

    with refusal("state has '_extra_state', which is not a tensor"):
        sm.Model(Odd(), Shortcut(), Toy()).save(tmp_path / "odd")
    assert not (tmp_path / "odd").exists()


@pytest.mark.parametrize("name", ["flowers.safetensors", "flowers"])
def test_a_saved_model_is_replaced(model: sm.Model, tmp_path: Path, name: str) -> None:
    other = model_of(Digits())
    model.save(tmp_path / name)
    if name == "flowers":
        (tmp_path / name / "README.md").write_text("my card")
    other.save(tmp_path / name)
    np.testing.assert_array_equal(sm.load(tmp_path / name).sample(3), other.sample(3))
    assert name != "flowers" or (tmp_path / name / "README.md").read_text() == "my card"


def run(place: Path) -> Path:
    (place / "run" / "checkpoints" / "00000012").mkdir(parents=True)
    (place / "run" / "config.json").write_text('{"recipe": "digits"}')
    return place / "run"


def foreign(place: Path) -> Path:
    (place / "bert").mkdir()
    (place / "bert" / "config.json").write_text('{"model_type": "bert"}')
    return place / "bert"


def text(place: Path, name: str) -> Path:
    (place / name).write_text("words")
    return place / name


def saved_folder(place: Path) -> Path:
    model_of(FLOWERS).save(place / "flowers")
    return place / "flowers"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a run": (run, "run is a run directory: choose another folder"),
    "a checkpoint": (
        lambda place: run(place) / "checkpoints" / "00000012" / "m.safetensors",
        "is a checkpoint of a run",
    ),
    "a file in a run": (lambda place: run(place) / "model.safetensors", "has a config.json of its own"),
    "the half of a folder": (lambda place: saved_folder(place) / "model.safetensors", "has a config.json of its own"),
    "a foreign folder": (foreign, "bert is not empty, and what is there is not a saved model"),
    "a folder of other files": (lambda place: text(place, "thesis.tex").parent, "is not empty"),
    "a file": (lambda place: text(place, "thesis.tex"), "is a file: choose a name that ends in .safetensors"),
    "a foreign file": (lambda place: text(place, "w.safetensors"), "was not saved by shortcut-models"),
    "state": (lambda place: place / "state.safetensors", "is named as what a run resumes from"),
    "below a file": (lambda place: text(place, "thesis.tex") / "m.safetensors", "cannot save to .*thesis.tex"),
    "folder below a file": (lambda place: text(place, "thesis.tex") / "model", "cannot save to .*thesis.tex"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_there_stays(model: sm.Model, tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    path = make(tmp_path)
    before = tree(tmp_path)
    with refusal(message):
        model.save(path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["flowers.safetensors", "flowers"])
@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_what_was_there(
    model: sm.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, there: bool
) -> None:
    if there:
        model.save(tmp_path / name)
    before = tree(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with refusal(f"cannot save to .*{name}.*: No space left on device"):
        model_of(Digits()).save(tmp_path / name)
    assert tree(tmp_path) == before


def test_a_flipped_bit_is_noticed(model: sm.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "flowers")
    path = tmp_path / "flowers" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 64]) + content[-4:])
    with refusal("is damaged .its content does not match its hash"):
        sm.load(tmp_path / "flowers")


def test_a_folder_of_an_earlier_version_opens(model: sm.Model, tmp_path: Path) -> None:
    """Its weights have no hash."""
    import safetensors.torch

    model.save(tmp_path / "flowers")
    weights, _ = checkpoint.read(tmp_path / "flowers" / "model.safetensors")
    safetensors.torch.save_file(weights, tmp_path / "flowers" / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(sm.load(tmp_path / "flowers").sample(3), model.sample(3))
