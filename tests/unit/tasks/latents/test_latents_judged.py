"""Latents are not what their task hands out: memory is that of images, and no figure follows from a draw."""

from __future__ import annotations

import types
from pathlib import Path

import psutil
import pytest
import torch

pytest.importorskip("diffusers")

from helpers.vaes import LATENT, SIDE, photos, save_kl
from shortcut_models.errors import UserError
from shortcut_models.evaluation.evaluate import data_deviation
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.tasks import Latents


@pytest.fixture
def model(tmp_path: Path) -> Model:
    task = Latents(photos(tmp_path / "photos"), save_kl(tmp_path / "kl")).resolve()
    assert task.shape == LATENT
    return Model(MLPConfig(width=4, depth=1).build(task.shape, task.conditions), FlowMatching(), task)


def test_the_memory_that_is_asked_for_is_that_of_the_images(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    image, latent = model.sample(2).nbytes // 2, 4 * 4 * 4 * 4
    assert (image, latent) == (SIDE * SIDE * 3, 256)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=256 * 4096))
    fits = (2**20 - 2 * latent) // (2 * image)  # as parts and together, beside a batch of one
    model.check_request(fits, 0, 1.0, 1)
    with pytest.raises(UserError, match=f"^{fits + 1} samples need .* make fewer at a time"):
        model.check_request(fits + 1, 0, 1.0, 1)
    with pytest.raises(UserError, match="make fewer at a time"):
        model.check_request(fits, 0, 1.0, fits)
    model.check_request(100, 0, 1.0, 1, encoded=32)
    with pytest.raises(UserError, match="make fewer at a time"):
        model.check_request(100, 0, 1.0, 1, encoded=37)


def test_the_deviation_of_the_data_is_the_same_each_time(model: Model) -> None:
    """It is taken of draws from the posterior; nobody else's draws change by it."""
    assert not model.task.autoencoder().deterministic
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(data_deviation(model.task))
        assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1]
    raw = model.task.dataset("test").__getitems__([0, 1]).data
    assert not torch.equal(model.task.encode(raw), model.task.encode(raw))
