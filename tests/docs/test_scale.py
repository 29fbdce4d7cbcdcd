"""The costs that the documentation computes are those of the real networks."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.run import get_args_parser
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from helpers.paths import ROOT
from shortcut_models.base import Label
from shortcut_models.networks import DiTConfig
from shortcut_models.networks.dit import SHORT, SIZES
from shortcut_models.recipes.library import RECIPES

PAGE = (ROOT / "docs" / "scale.md").read_text()


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import scale

    return scale


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_flops_are_those_of_the_published_sizes(scale: ModuleType, name: str) -> None:
    width, depth, heads = SIZES[name]
    with torch.device("meta"):
        network = DiTConfig(width, depth, heads).build((4, 32, 32), {"label": Label(1000)})
        x, one, label = torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, dtype=torch.int64)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(x, one, one, network.encode({"label": label}))
    sizes = scale.Sizes(width, depth)
    assert sizes.parameters() == sum(p.numel() for p in network.parameters())
    assert sizes.flops() == counter.get_total_flops()


def kept(depth: int, *, checkpointing: bool) -> int:
    """Return the bytes that a DiT keeps of one example for the backward pass; each piece of memory counts once."""
    network = DiTConfig(width=64, depth=depth, heads=4, checkpointing=checkpointing).build((4, 64, 64), {})
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    pieces: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and not isinstance(tensor, torch.nn.Parameter):
            pieces[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no other takes its place
        return tensor

    nothing: Any = lambda tensor: tensor
    one = torch.full((1,), 0.5)
    with torch.autograd.graph.saved_tensors_hooks(keep, nothing), torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(1, 4, 64, 64), one, one)
    return sum(size for size, _ in pieces.values())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_a_pass_keeps(scale: ModuleType, checkpointing: bool) -> None:
    """Compare what one more block adds, with so many tokens that the attention is the fused one."""
    sizes = [scale.Sizes(64, depth, side=64) for depth in (1, 3)]
    assert sizes[0].tokens > SHORT
    more = sizes[1].activations(checkpointing=checkpointing) - sizes[0].activations(checkpointing=checkpointing)
    found = kept(3, checkpointing=checkpointing) - kept(1, checkpointing=checkpointing)
    # Weights in bfloat16, statistics of the normalisations and of the softmax, and gates are left out.
    assert found == pytest.approx(more, rel=0.1)


def test_a_run_costs_what_its_recipe_does(scale: ModuleType) -> None:
    recipe = RECIPES["imagenet-256"]
    training = recipe.training
    passes = recipe.objective.nfe_per_example
    assert f"{passes:.2f} passes" in PAGE
    for name, (width, depth, _) in SIZES.items():
        sizes = scale.Sizes(width, depth)
        found = scale.hours(sizes, training.train_steps, training.batch_size, 989e12, 0.4)
        assert found == pytest.approx(
            training.train_steps * training.batch_size * passes * sizes.flops() / 989e12 / 1440
        )
        assert f"| DiT-{name.upper()}/2 | {found:.0f} | {found / 192:.{2 if found < 10 else 1}f} |" in PAGE


SIGNS = ("export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=", "#SBATCH --signal=TERM@")


def test_torchrun_leaves_the_time_that_slurm_does() -> None:
    """By default it leaves 30 seconds."""
    left, notice = (
        int(found[1]) for found in (re.search(rf"^{sign}(\d+)$", PAGE, re.MULTILINE) for sign in SIGNS) if found
    )
    assert 30 < left < notice
    help_page = " ".join(get_args_parser().format_help().split())
    if "--shutdown-timeout" in help_page:
        assert "TORCH_ELASTIC_SHUTDOWN_TIMEOUT" in help_page
