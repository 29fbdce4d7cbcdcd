"""Global settings of torch that a program around the package has changed do not change what it does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import shortcut_models as sm
from helpers.runs import refusal
from shortcut_models.base import Network
from shortcut_models.networks import NETWORKS, MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.system.defaults import torch_defaults
from shortcut_models.tasks import Digits


@contextlib.contextmanager
def dtype(kind: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "float64": lambda: dtype(torch.float64),
    "bfloat16": lambda: dtype(torch.bfloat16),
    "device": lambda: torch.device("meta"),
    "no gradients": lambda: torch.set_grad_enabled(False),
    "inference": torch.inference_mode,
    "deterministic": deterministic,
}


def network() -> Network:
    task = Digits()
    torch.manual_seed(0)
    return MLPConfig(width=16, depth=1).build(task.shape, task.conditions)


def trained(run: Path, made: Network | None = None) -> sm.Model:
    options = sm.Training(train_steps=4, batch_size=8, device="cpu")
    return sm.fit(made or network(), Shortcut(max_steps=8), Digits(), run=run, training=options, quiet=True)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("usual") / "run"
    trained(run)
    return run


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_do_not_matter(usual: Path, tmp_path: Path, name: str) -> None:
    expected = sm.load(usual).sample(4, steps=2)
    measured = sm.evaluate(sm.load(usual), 1, 20, quiet=True)["steps"]["1"]
    made = network() if name in ("inference", "device") else None  # one made within cannot be trained
    with SETTINGS[name]():  # type: ignore[operator]
        before = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        np.testing.assert_array_equal(sm.load(usual).sample(4, steps=2), expected)
        found = sm.evaluate(sm.load(usual), 1, 20, quiet=True)["steps"]["1"]
        assert {k: v for k, v in found.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in measured.items() if k != "seconds"}
        )
        np.testing.assert_array_equal(trained(tmp_path / "run", made).sample(4, steps=2), expected)
        assert before == (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled())


def test_autocast_around_a_training_does_not_matter(usual: Path, tmp_path: Path) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        model = trained(tmp_path / "run")
    np.testing.assert_array_equal(model.sample(4, steps=2), sm.load(usual).sample(4, steps=2))


def test_a_network_made_in_inference_mode_is_refused(tmp_path: Path) -> None:
    with torch.inference_mode():
        made = network()
    with refusal("made in torch.inference_mode: make it outside"):
        trained(tmp_path / "run", made)


def test_a_network_of_another_precision_is_trained_in_float32(tmp_path: Path) -> None:
    model = trained(tmp_path / "run", network().double())
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_built_in_float32(name: str) -> None:
    assert hasattr(type(NETWORKS[name]()).build, "__wrapped__"), "decorate build with torch_defaults()"


def test_settings_come_back_after_an_error() -> None:
    @torch_defaults(gradients=True)
    def fail() -> None:
        assert torch.get_default_dtype() == torch.float32
        raise KeyError

    with dtype(torch.float64):
        with pytest.raises(KeyError):
            fail()
        assert torch.get_default_dtype() == torch.float64
