"""Models of diffusers as networks: their own output at first, at every step size, and what they cannot take."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import shortcut_models as sm
from shortcut_models.base import Condition, Label, Network, Vector
from shortcut_models.networks.from_diffusers import from_diffusers
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import Digits

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.needs_extra

CHANNELS: dict[str, Any] = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "norm_num_groups": 4}
UNET: dict[str, Any] = CHANNELS | {"block_out_channels": (8, 8), "layers_per_block": 1}
LABEL: Mapping[str, Condition] = {"label": Label(3)}


def unet(**options: Any) -> nn.Module:
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    return diffusers.UNet2DModel(**UNET | blocks | options)


def dit(**options: Any) -> nn.Module:
    sizes = {"num_attention_heads": 2, "attention_head_dim": 4, "num_layers": 2, "patch_size": 4}
    return diffusers.DiTTransformer2DModel(**CHANNELS | sizes | {"num_embeds_ada_norm": 3} | options)


def unet_of_conditions(**options: Any) -> nn.Module:
    blocks = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    }
    return diffusers.UNet2DConditionModel(
        **UNET | blocks | {"cross_attention_dim": 8, "attention_head_dim": 4} | options
    )


CASES = {
    "unet": (unet, {}),
    "unet-label": (lambda: unet(num_class_embeds=4), LABEL),
    "dit": (dit, {}),
    "dit-label": (dit, LABEL),
    "tokens": (unet_of_conditions, {}),
    "tokens-label+vector": (unet_of_conditions, {"label": Label(3), "state": Vector(2)}),
}


def call(network: Network, d: float, drop: torch.Tensor | None = None) -> torch.Tensor:
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    cond = {"label": torch.tensor([0, 1, 2]), "state": torch.ones(3, 2)}
    return network(x, torch.tensor([0.0, 0.3, 1.0]), torch.full((3,), d), network.encode(cond, drop))


@pytest.mark.parametrize("case", CASES)
def test_at_first_it_is_the_model_at_every_step_size_and_then_learns_it(case: str) -> None:
    make, conditions = CASES[case]
    model = make()
    network = sm.as_network(model, conditions).eval()
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {}
    if case == "dit":
        options["class_labels"] = torch.zeros(3, dtype=torch.int64)
    elif case.endswith("-label"):
        options["class_labels"] = torch.arange(3)
    elif case == "tokens":
        options["encoder_hidden_states"] = torch.zeros(3, 1, 8)
    elif case == "tokens-label+vector":
        tokens = network.encode({"label": torch.tensor([0, 1, 2]), "state": torch.ones(3, 2)})
        options["encoder_hidden_states"] = tokens[:, None]
    with torch.no_grad():
        own = model(x, torch.tensor([1000.0, 700.0, 0.0]), **options).sample
    for d in (0.0, 1 / 128, 0.25, 1.0):
        assert torch.equal(call(network, d), own)

    network.train()
    call(network, 0.5).square().sum().backward()
    weight, bias = list(network.step_size.parameters())[-2:]  # type: ignore[attr-defined]
    assert weight.grad.any()
    assert bias.grad.all()
    changed = copy.deepcopy(network).eval()
    with torch.no_grad():
        for parameter in list(changed.step_size.parameters())[-2:]:  # type: ignore[attr-defined]
            parameter.normal_()
        assert not torch.equal(call(changed, 0.25), call(changed, 1.0))
        assert torch.equal(call(network.eval(), 0.25), call(network, 1.0))  # which a copy has no part in


@pytest.mark.parametrize("case", [case for case in CASES if "label" in case])
def test_dropped_labels_are_another_class(case: str) -> None:
    make, conditions = CASES[case]
    network = sm.as_network(make(), conditions).train()
    drop = torch.tensor([True, False, False])
    with torch.no_grad():
        kept, dropped = call(network, 0.5), call(network, 0.5, drop)
    assert not torch.allclose(kept[0], dropped[0], atol=1e-6)
    assert torch.allclose(kept[1:], dropped[1:], atol=1e-6)


def test_a_dit_drops_no_labels_itself() -> None:
    network = sm.as_network(dit(), LABEL).train()
    with torch.no_grad():
        assert all(torch.equal(call(network, 0.5), call(network, 0.5)) for _ in range(20))


@pytest.mark.parametrize("make", [unet, dit])
def test_gradients_are_the_same_with_checkpointing(make: Any) -> None:
    network = sm.as_network(make(), {}).train()
    found = []
    for _ in range(2):
        call(network, 0.5).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in network.parameters()])
        network.zero_grad()
        network.model.enable_gradient_checkpointing()  # type: ignore[attr-defined]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    copy.deepcopy(network)  # also while a pass is kept


@pytest.mark.parametrize(
    ("make", "conditions", "message"),
    [
        (
            lambda: unet(num_class_embeds=3),
            LABEL,
            "the UNet2DModel has 3 num_class_embeds, and the task 3 classes: use 4",
        ),
        (unet, LABEL, "the UNet2DModel has 0 num_class_embeds, and the task 3 classes: use 4"),
        (lambda: unet(num_class_embeds=3), {}, "has 3 num_class_embeds, and the task no label: build it without"),
        (lambda: dit(num_embeds_ada_norm=2), LABEL, "has 2 num_embeds_ada_norm, and the task 3 classes: use 3"),
        (unet, {"state": Vector(2)}, "a UNet2DModel does not take 'state', only a label: use a UNet2DConditionModel"),
        (lambda: dit(out_channels=2), {}, "1 in_channels and 2 out_channels: .* build it with out_channels=1"),
        (lambda: diffusers.VQModel(norm_num_groups=4, block_out_channels=(4,)), {}, "VQModel is not among UNet2DModel"),
    ],
)
def test_models_that_do_not_fit(make: Any, conditions: Any, message: str) -> None:
    with pytest.raises(sm.UserError, match=message):
        from_diffusers(make(), conditions)


def test_a_model_of_other_channels_is_refused_before_training() -> None:
    model, training = unet(in_channels=3, out_channels=3, num_class_embeds=11), sm.Training(train_steps=2, device="cpu")
    said = r"UNet2DModel cannot be called with x \[2, 1, 8, 8\], .* label: Given groups=1"
    with pytest.raises(sm.UserError, match=said):
        sm.fit(model, Shortcut(), Digits(), training=training, quiet=True)


def test_it_is_trained_saved_loaded_and_sampled(tmp_path: Path) -> None:
    training = sm.Training(train_steps=2, batch_size=4, device="cpu", precision="fp32", snapshots=0, side_share=1.0)
    build = lambda: unet(num_class_embeds=11)
    model = sm.fit(build(), Shortcut(max_steps=2), Digits(), run=tmp_path / "run", training=training, quiet=True)
    loaded = sm.load(tmp_path / "run", network=build())
    assert np.array_equal(loaded.sample(3, steps=2), model.sample(3, steps=2))
    assert {name.removeprefix("model.") for name in model.network.state_dict() if name.startswith("model.")} == set(
        build().state_dict()
    )


def test_threads_do_not_see_the_step_sizes_of_one_another() -> None:
    network = from_diffusers(unet(), {})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = sm.Model(network, Shortcut(max_steps=16), sm.FromDataset(torch.randn(8, 1, 8, 8)))
    steps = [1, 2, 4, 8] * 3
    expected = [model.sample(2, steps=n, seed=n) for n in steps]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: model.sample(2, steps=n, seed=n), steps))
    assert all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True))
