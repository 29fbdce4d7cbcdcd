"""The networks for action chunks against forward passes by hand and the counts of the published one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from helpers.numpy_layers import attention, convolve, gelu, group_norm, layer_norm, linear, mish, silu
from helpers.oracle import wake
from shortcut_models.base import Label, NetworkConfig
from shortcut_models.errors import UserError
from shortcut_models.models.hub import HubModel
from shortcut_models.models.model import Model
from shortcut_models.networks import ChunkDiT, ChunkDiTConfig, UNet1d, UNet1dConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import Digits

UNET = UNet1dConfig(width=8, levels=3, kernel=3, condition_width=12)
CHUNK = ChunkDiTConfig(width=12, depth=2, heads=2)
LABEL = {"label": Label(3)}
ROWS = 6
every_config = pytest.mark.parametrize("config", [UNET, replace(UNET, levels=1, kernel=5), CHUNK])
every_horizon = pytest.mark.parametrize("horizon", [1, 5, 8, 17])


def inputs(horizon: int, size: int = 3) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor], Tensor]:
    """x, t, d, conditions, and who loses them."""
    t, d = torch.arange(ROWS) / 8, torch.tensor([0.0, 1 / 128, 0.125, 0.125, 0.25, 0.25])
    x = torch.randn(ROWS, horizon, size, dtype=torch.float64)
    return x, t, d, {"label": torch.arange(ROWS) % 3}, torch.arange(ROWS) % 2 == 1


def run(network: Any, x: Tensor, t: Tensor, d: Tensor, cond: dict[str, Tensor], drop: Tensor | None) -> Tensor:
    return network(x, t, d, network.encode(cond, drop))


def unet_by_hand(network: UNet1d, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The published forward pass for one chunk [horizon, size] and its conditioning vector, and a share of it."""
    levels, c = network.config.levels, mish(c)
    h = np.zeros((x.shape[1], 1, math.ceil(len(x) / 2 ** (levels - 1)) * 2 ** (levels - 1)))
    h[:, 0, : len(x)] = x.T

    def convolved(block: Any, h: np.ndarray) -> np.ndarray:
        return mish(group_norm(block[1], convolve(block[0], h)))

    def residual(block: Any, h: np.ndarray) -> np.ndarray:
        scale, shift = np.split(linear(block.modulation, c), 2)
        change = convolved(block.first, h) * (1 + scale)[:, None, None] + shift[:, None, None]
        same = isinstance(block.shortcut, torch.nn.Identity)
        return convolved(block.second, change) + (h if same else convolve(block.shortcut, h))

    def twice_as_long(layer: Any, h: np.ndarray) -> np.ndarray:
        weight, bias = layer.weight.detach().numpy()[:, :, 0], layer.bias.detach().numpy()
        out = np.zeros((weight.shape[1], 2 * h.shape[2] + 2))
        for n in range(h.shape[2]):
            out[:, 2 * n : 2 * n + 4] += np.einsum("i,iok->ok", h[:, 0, n], weight)
        return (out[:, 1:-1] + bias[:, None])[:, None]

    across = []
    for level in range(levels):
        for block in network.down[level]:  # type: ignore[union-attr]
            h = residual(block, h)
        across.append(h)
        if level + 1 < levels:
            h = convolve(network.coarser[level], h)  # type: ignore[arg-type]
    for block in network.middle:
        h = residual(block, h)
    for blocks, finer in zip(network.up, network.finer, strict=True):
        h = np.concatenate([h, across.pop()])
        for block in blocks:  # type: ignore[union-attr]
            h = residual(block, h)
        h = twice_as_long(finer, h)
    made = convolve(network.proj_out, convolved(network.last, h))[:, 0, : len(x)].T
    return made + linear(network.skip, c) * x


def chunk_dit_by_hand(network: ChunkDiT, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """As DiT has it for one chunk [horizon, size], a token for each action, and a share of the chunk."""
    config, c = network.config, silu(c)
    half = config.width // 2
    places = np.array([[n / 10000 ** (i / half) for i in range(half)] for n in range(len(x))])
    h = linear(network.proj_in, x) + np.concatenate([np.sin(places), np.cos(places)], 1)
    for block in network.blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = np.split(linear(block.modulation, c), 6)
        h = h + gate1 * attention(block, layer_norm(h) * (1 + scale1) + shift1, config.heads)
        h = h + gate2 * linear(block.mlp[2], gelu(linear(block.mlp[0], layer_norm(h) * (1 + scale2) + shift2)))
    shift, scale = np.split(linear(network.modulation, c), 2)
    return linear(network.proj_out, layer_norm(h) * (1 + scale) + shift) + linear(network.skip, c) * x


@every_config
@every_horizon
def test_they_equal_a_forward_pass_by_hand(config: NetworkConfig, horizon: int) -> None:
    network: Any = wake(config.build((horizon, 3), LABEL)).double()
    x, t, d, cond, drop = inputs(horizon)
    made = run(network, x, t, d, cond, drop).detach().numpy()
    c = (network.embed(t, d) + network.encode(cond, drop)).detach().numpy()
    by_hand: Any = unet_by_hand if isinstance(network, UNet1d) else chunk_dit_by_hand
    for row in range(ROWS):
        expected = by_hand(network, x[row].numpy(), c[row])
        np.testing.assert_allclose(made[row], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("width", "kernel", "condition_width", "size", "published"),
    [(256, 5, 256, 2, 64_684_290), (256, 5, 256, 10, 64_698_634), (512, 5, 256, 2, 251_265_538),
     (16, 3, 64, 3, 210_979)],
)  # fmt: skip
def test_the_unet_has_the_parameters_of_the_published_one(
    width: int, kernel: int, condition_width: int, size: int, published: int
) -> None:
    """ConditionalUnet1D of Diffusion Policy's code, with scale and shift, less its embedding of the diffusion step."""
    config = UNet1dConfig(width=width, levels=3, kernel=kernel, condition_width=condition_width)
    with torch.device("meta"):
        network = config.build((16, size), {})
    own = ("embed.", "skip.")
    assert sum(p.numel() for name, p in network.named_parameters() if not name.startswith(own)) == published


@every_config
def test_a_new_network_answers_zero_and_every_input_makes_a_difference(config: NetworkConfig) -> None:
    x, *rest = inputs(6)
    network: Any = config.build((6, 3), LABEL).double()
    assert torch.equal(run(network, x, *rest), torch.zeros_like(x))
    wake(network)
    x, t, d, cond, drop = inputs(6)
    before = run(network, x, t, d, cond, None)
    changed = {
        "x": run(network, x + 0.1, t, d, cond, None),
        "t": run(network, x, t + 1 / 128, d, cond, None),
        "d": run(network, x, t, d / 2 + 2**-10, cond, None),
        "label": run(network, x, t, d, {"label": (cond["label"] + 1) % 3}, None),
        "drop": run(network, x, t, d, cond, ~drop | drop),
    }
    for name, after in changed.items():
        difference = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
        assert difference.min() > 1e-3, name


@every_config
def test_a_row_depends_on_nothing_of_the_others_and_all_actions_on_each(config: NetworkConfig) -> None:
    network: Any = wake(config.build((6, 3), LABEL)).double()
    x, t, d, cond, drop = inputs(6)
    together = run(network, x, t, d, cond, drop)
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = run(network, x[one], t[one], d[one], {"label": cond["label"][one]}, drop[one])
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-12)
    for place in range(6):
        moved = x.clone()
        moved[:, place] += 0.5
        assert ((run(network, moved, t, d, cond, drop) - together).abs().amax((0, 2)) > 1e-6).all()


@every_config
def test_action_networks_in_bfloat16_answer_nearly_the_same_in_float32(config: NetworkConfig) -> None:
    network: Any = wake(config.build((6, 3), LABEL))
    x, *rest = inputs(6)
    exact = run(network, x.float(), *rest)
    with torch.autocast("cpu", torch.bfloat16):
        rough = run(network, x.float(), *rest)
    assert rough.dtype == torch.float32
    assert 0 < ((rough - exact).norm() / exact.norm()).item() < 0.03


def test_the_layout_for_speed_changes_no_answer_and_can_be_saved(tmp_path: Path) -> None:
    network: Any = wake(UNET.build((8, 8), LABEL))
    x, *rest = inputs(8, 8)
    plain = run(network, x.float(), *rest)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(run(network, x.float(), *rest), plain)
    HubModel.of(Model(network, Shortcut(), Digits())).save_pretrained(tmp_path)
    saved = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (
            UNET,
            (2,),
            r"a 1-D U-Net takes action chunks \(horizon, action\), not events of shape \(2,\): use network mlp",
        ),
        (CHUNK, (3, 8, 8), r"a chunk DiT takes action chunks .* of shape \(3, 8, 8\)"),
        (replace(CHUNK, heads=5), (8, 2), "heads 5 does not divide width 12"),
        (replace(CHUNK, width=9, heads=3), (8, 2), "width 9 must be even"),
    ],
)
def test_shapes_and_sizes_that_do_not_fit_are_refused(
    config: NetworkConfig, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        config.build(shape, {})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"kernel": 4}, "kernel must be .*odd, not 4"), ({"levels": 0}, "levels must be >= 1"),
     ({"keypoints": 0}, "keypoints must be >= 1"), ({"image_stages": 9}, "image-stages must be <= 5")],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UNet1dConfig(**sizes)
