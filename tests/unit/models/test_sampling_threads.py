"""Models in a service: several threads at once, another device, and a compiled network."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers.models import FLOWERS, model_of
from helpers.runs import refusal
from shortcut_models.base import Network, T, X
from shortcut_models.models.model import Model
from shortcut_models.objectives import ConsistencyTraining, Shortcut
from shortcut_models.system.defaults import torch_defaults
from shortcut_models.system.evaluating import evaluating
from shortcut_models.tasks import Toy

THREADS, ROUNDS = 8, 3


class Dropping(Network):
    """A network whose training mode would be seen in its samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 2))
        self.frozen = nn.Dropout(0.5).eval()

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        return self.frozen(self.layers(x)) + t[:, None] + d[:, None]


def requests(model: Model) -> list[Callable[[], np.ndarray]]:
    """Different numbers, steps and seeds, and of classes where there are any."""
    found = []
    for number in range(THREADS):
        options: dict[str, Any] = {"num": 3 + number, "steps": 1 << number % 4, "seed": number, "batch_size": 4}
        if model.classes:
            options |= {"label": number % 3, "guidance": 1.0 + number % 2}
        found.append(lambda options=options: model.sample(**options))
    return found


def assert_same_in_threads(model: Model) -> None:
    calls = requests(model)
    expected = [call() for call in calls]
    barrier = threading.Barrier(THREADS)

    def at_once(call: Callable[[], np.ndarray]) -> np.ndarray:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(ROUNDS):
            for made, one in zip(pool.map(at_once, calls), expected, strict=True):
                np.testing.assert_array_equal(made, one)


@pytest.mark.parametrize("objective", [Shortcut(max_steps=16), ConsistencyTraining(max_steps=16)])
def test_threads_make_the_same_samples(objective: Any) -> None:
    assert_same_in_threads(model_of(FLOWERS, objective))


def test_threads_share_a_network_in_training_mode() -> None:
    network = Dropping()
    assert_same_in_threads(Model(network, Shortcut(max_steps=16), Toy()))
    assert network.training
    assert network.layers[2].training
    assert not network.frozen.training, "each module has its own mode"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_under_another_default_dtype(precision: Any) -> None:
    model = model_of(FLOWERS)
    model.precision = precision
    torch.set_default_dtype(torch.float64)
    try:
        assert_same_in_threads(model)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_threads_do_not_use_the_global_generator() -> None:
    model = model_of(FLOWERS)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert_same_in_threads(model)
    assert torch.equal(torch.rand(4), expected)


def test_a_default_dtype_comes_back_with_the_last_thread() -> None:
    """Also where the thread that replaced it leaves first."""
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with torch_defaults():
            inside.set()
            leave.wait(30)
            assert torch.get_default_dtype() == torch.float32

    torch.set_default_dtype(torch.float64)
    try:
        with ThreadPoolExecutor(1) as pool:
            with torch_defaults():
                done = pool.submit(other)
                assert inside.wait(30)
            assert torch.get_default_dtype() == torch.float32, "the other thread computes"
            leave.set()
            done.result(30)
            assert torch.get_default_dtype() == torch.float64
        with torch_defaults():
            torch.set_default_dtype(torch.bfloat16)
            with torch_defaults():
                assert torch.get_default_dtype() == torch.float32
            assert torch.get_default_dtype() == torch.bfloat16, "one within another"
    finally:
        leave.set()
        torch.set_default_dtype(torch.float32)


def test_a_mode_comes_back_with_the_last_thread_and_after_an_error() -> None:
    network = Dropping()
    with evaluating(network):
        with pytest.raises(KeyError), evaluating(network):
            raise KeyError
        assert not network.training
        network.layers.train()  # by the program
        with evaluating(network):
            assert not network.layers.training
    assert network.training
    assert network.layers[2].training
    assert not network.frozen.training
    gone = weakref.ref(network)
    del network
    assert gone() is None, "nothing holds a network that is not in use"


# Devices


def test_a_model_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    model, moved = model_of(FLOWERS), []
    monkeypatch.setattr(type(model.network), "to", lambda self, device: moved.append(device) or self)
    assert model.to("cpu") is model
    assert model.to(torch.device("cpu")).to("auto") is model
    assert {device.type for device in moved} <= {"cpu", "cuda"}
    assert len(moved) == 3


@pytest.mark.parametrize("device", ["warp", "cuda:99", "meta", ""])
def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    model = model_of(FLOWERS)
    with refusal(f"device '{device}' is not available here"):
        model.to(device)
    assert model.sample(2).shape == (2, 8, 8, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu() -> None:
    model = model_of(FLOWERS)
    here = model.sample(4, steps=4).astype(int)
    made = model.to("cuda").sample(4, steps=4, output="torch")
    assert made.device.type == "cuda"
    assert np.abs(made.cpu().numpy().astype(int) - here).max() <= 1
    assert_same_in_threads(model)
    assert model.to("cpu").device.type == "cpu"


# Compiled networks


@pytest.mark.long
@pytest.mark.usefixtures("annotations_unchecked")
def test_a_compiled_network_makes_the_same_samples() -> None:
    model = model_of(FLOWERS)
    expected = model.trajectory(5, steps=4, decode=False)
    assert model.compile(backend="eager", fullgraph=False) is model
    np.testing.assert_allclose(model.trajectory(5, steps=4, decode=False), expected, rtol=1e-4, atol=1e-5)
    assert_same_in_threads(model)


@pytest.mark.usefixtures("annotations_unchecked")
def test_what_cannot_be_compiled_is_one_line_and_changes_nothing() -> None:
    model = model_of(FLOWERS)
    expected = model.sample(3)

    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler\nhere")

    for options in ({"backend": "no-such-backend"}, {"backend": broken}, {"colour": "red"}):
        with refusal("torch cannot compile the network here .*: leave compile out"):
            model.compile(**options)
        np.testing.assert_array_equal(model.sample(3), expected)
