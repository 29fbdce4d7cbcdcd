"""The recipes of the paper: published sizes, and the published training."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers.paths import DATA
from shortcut_models import cli
from shortcut_models.base import Label, Network
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.recipes.library import RECIPES
from shortcut_models.tasks import Latents

PUBLISHED = {
    # parameters, and multiply-adds of a forward pass of a 32 x 32 x 4 latent (Peebles and Xie 2023, table 4)
    "imagenet-256": (130e6, 23.01e9),
    "imagenet-256-xl": (675e6, 118.64e9),
}


def build(recipe: str) -> Network:
    """The network of a recipe, without memory for its weights."""
    with torch.device("meta"):
        return RECIPES[recipe].network.build((4, 32, 32), {"label": Label(1000)})


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str) -> None:
    network, (parameters, multiply_adds) = build(name), PUBLISHED[name]
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters, rel=0.02)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        one = torch.zeros(1)
        network(torch.zeros(1, 4, 32, 32), one, one, network.encode({"label": torch.zeros(1, dtype=torch.int64)}))
    assert counter.get_total_flops() / 2 == pytest.approx(multiply_adds, rel=0.02)


@pytest.mark.parametrize(
    ("name", "batch_size", "steps", "guidance", "classes"),
    [
        ("celebahq-256", 64, 410_000, 1.0, 0),
        ("imagenet-256", 256, 810_000, 1.5, 1000),
        ("imagenet-256-xl", 256, 810_000, 1.5, 1000),
    ],
)
def test_training_is_the_published_one(name: str, batch_size: int, steps: int, guidance: float, classes: int) -> None:
    recipe = RECIPES[name]
    training, objective, task = recipe.training, recipe.objective, recipe.task
    assert (training.batch_size, training.train_steps, training.learning_rate) == (batch_size, steps, 1e-4)
    assert (training.schedule, training.warmup) == ("constant", 0)
    assert (training.beta1, training.beta2, training.weight_decay, training.ema) == (0.9, 0.999, 0.1, 0.999)
    assert isinstance(objective, Shortcut)
    assert objective.guidance == guidance
    with np.load(DATA / "original.npz") as recorded:  # the options of the original code's own run
        config = json.loads(str(recorded["shortcut/config"]))
    assert objective.max_steps == config["denoise_timesteps"]
    assert objective.label_dropout == config["class_dropout_prob"]
    assert objective.bootstrap_fraction == 1 / config["bootstrap_every"]
    assert objective.guidance in (1.0, config["cfg_scale"])
    assert isinstance(task, Latents)
    assert (task.image_size, task.classes) == (256, classes)


def test_each_is_also_flow_matching() -> None:
    for name in ("celebahq-256", "imagenet-256", "imagenet-256-xl"):
        recipe = cli.read(["train", name, "--objective", "flow", "--data", "photos", "--vae", "a/vae"]).recipe
        assert isinstance(recipe.objective, FlowMatching)
        assert recipe.objective.label_dropout == 0.1
        assert recipe.training == RECIPES[name].training
        assert recipe.network == RECIPES[name].network
        assert recipe.task == dataclasses.replace(RECIPES[name].task, data="photos", vae="a/vae")  # type: ignore[type-var]
