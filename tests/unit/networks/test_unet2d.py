"""The U-Net for images against a forward pass by hand, and at every size of image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.numpy_layers import attention, convolve, group_norm, linear, silu
from helpers.oracle import wake
from shortcut_models.base import Label
from shortcut_models.errors import UserError
from shortcut_models.networks import UNet2d, UNet2dConfig

UNET = UNet2dConfig(width=4, levels=3, patch_size=1, condition_width=12)
PATCHES = replace(UNET, width=16, levels=2, depth=2, patch_size=2)
LABEL = {"label": Label(3)}
ROWS = 4
every_config = pytest.mark.parametrize(
    "config", [UNET, replace(UNET, levels=1, attention=False, patch_size=3), PATCHES]
)


def inputs(shape: tuple[int, ...] = (3, 8, 12)) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor], Tensor]:
    """x, t, d, conditions, and who loses them."""
    t, d = torch.arange(ROWS) / 8, torch.tensor([0.0, 1 / 128, 0.125, 0.25])
    cond = {"label": torch.arange(ROWS) % 3}
    return torch.randn(ROWS, *shape, dtype=torch.float64), t, d, cond, torch.arange(ROWS) % 2 == 1


def run(network: Any, x: Tensor, t: Tensor, d: Tensor, cond: dict[str, Tensor], drop: Tensor | None) -> Tensor:
    return network(x, t, d, network.encode(cond, drop))


def awake(config: UNet2dConfig, shape: tuple[int, ...] = (3, 8, 12)) -> UNet2d:
    network = wake(config.build(shape, LABEL)).double()
    with torch.no_grad():  # kernels whose last axis is short, kept small enough for their sums
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4:
                parameter.div_(3)
            if name.startswith("attention.qkv"):
                parameter.mul_(4)  # so that attention is far from even
    return network  # type: ignore[return-value]


def by_hand(network: UNet2d, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The forward pass for one image [C, H, W] and its conditioning vector, and a share of the image."""
    levels, c, (height, width), p = network.config.levels, silu(c), x.shape[1:], network.config.patch_size
    multiple = p * 2 ** (levels - 1)
    padded = np.zeros((len(x), -(-height // multiple) * multiple, -(-width // multiple) * multiple))
    padded[:, :height, :width] = x
    h = np.stack([image[i::p, j::p] for image in padded for i in range(p) for j in range(p)])

    def residual(block: Any, h: np.ndarray) -> np.ndarray:
        shift, scale = np.split(linear(block.modulation, c), 2)
        change = group_norm(block.norm2, convolve(block.conv1, silu(group_norm(block.norm1, h))))
        return h + convolve(block.conv2, silu(change * (1 + scale)[:, None, None] + shift[:, None, None]))

    h, across = convolve(network.proj_in, h), []
    for level in range(levels):
        for block in network.down[level]:  # type: ignore[union-attr]
            h = residual(block, h)
        if level + 1 < levels:
            across.append(h)
            h = convolve(network.coarser[level], h)  # type: ignore[arg-type]
    if network.attention is not None:
        places = group_norm(network.attention.norm, h).reshape(len(h), -1).T
        heads = max(1, len(h) // 32)
        h = h + attention(network.attention, places, heads).T.reshape(h.shape)
    for level in range(levels):
        if level:
            h = np.concatenate([h.repeat(2, 1).repeat(2, 2), across.pop()])
            h = convolve(network.join[level - 1], h)  # type: ignore[arg-type]
        for block in network.up[level]:  # type: ignore[union-attr]
            h = residual(block, h)
    pieces, made = iter(convolve(network.proj_out, silu(group_norm(network.norm, h)))), np.zeros_like(padded)
    for image in made:
        for i in range(p):
            for j in range(p):
                image[i::p, j::p] = next(pieces)
    return made[:, :height, :width] + linear(network.skip, c)[:, None, None] * x


@every_config
@pytest.mark.parametrize("shape", [(3, 8, 12), (1, 7, 5), (2, 1, 1)])
def test_it_equals_a_forward_pass_by_hand(config: UNet2dConfig, shape: tuple[int, ...]) -> None:
    network: Any = awake(config, shape)
    x, t, d, cond, drop = inputs(shape)
    made = run(network, x, t, d, cond, drop).detach().numpy()
    c = (network.embed(t, d) + network.encode(cond, drop)).detach().numpy()
    for row in range(ROWS):
        expected = by_hand(network, x[row].numpy(), c[row])
        np.testing.assert_allclose(made[row], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@every_config
def test_a_new_network_answers_zero_and_every_input_makes_a_difference(config: UNet2dConfig) -> None:
    x, t, d, cond, drop = inputs()
    new = config.build((3, 8, 12), LABEL).double()
    assert torch.equal(run(new, x, t, d, cond, drop), torch.zeros_like(x))
    network = awake(config)
    before = run(network, x, t, d, cond, None)
    changed = {
        "x": run(network, x + 0.1, t, d, cond, None),
        "t": run(network, x, t + 1 / 128, d, cond, None),
        "d": run(network, x, t, d / 2 + 2**-10, cond, None),
        "label": run(network, x, t, d, {"label": (cond["label"] + 1) % 3}, None),
        "drop": run(network, x, t, d, cond, torch.ones_like(drop)),
    }
    for name, after in changed.items():
        difference = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
        assert difference.min() > 1e-3, name
    kept = run(network, x, t, d, cond, drop)
    torch.testing.assert_close(kept[~drop], before[~drop])
    torch.testing.assert_close(kept[drop], changed["drop"][drop])


def test_a_new_network_tells_classes_and_none_apart_as_well_as_times() -> None:
    """Otherwise labels hardly matter for thousands of steps."""
    network: Any = UNet2dConfig().build((3, 8, 8), LABEL)
    none = network.encode({"label": torch.tensor([3])})
    classes = torch.cat([network.encode({"label": torch.arange(3)}), none])
    times = network.embed(torch.tensor([0.0, 0.5]), torch.zeros(2))
    assert torch.nn.functional.pdist(classes).min() > (times[1] - times[0]).norm()


@every_config
def test_a_row_depends_on_nothing_of_the_others(config: UNet2dConfig) -> None:
    network = awake(config)
    x, t, d, cond, drop = inputs()
    together = run(network, x, t, d, cond, drop)
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = run(network, x[one], t[one], d[one], {"label": cond["label"][one]}, drop[one])
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", range(8, 34))
@pytest.mark.parametrize("config", [UNET, replace(PATCHES, levels=3, attention=False)])
def test_every_size_of_image_is_taken_and_every_parameter_learns(size: int, config: UNet2dConfig) -> None:
    shape = (3, size, size + 3)
    network = awake(config, shape)
    x, *rest = inputs(shape)
    made = run(network, x, *rest)
    assert made.shape == x.shape
    assert made.isfinite().all()
    made.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # A bias of every channel by itself does nothing before a normalisation of every channel by itself.
        assert parameter.grad.any() or name.endswith("conv1.bias"), name


def test_the_whole_image_depends_on_each_pixel() -> None:
    network = awake(UNET, (1, 16, 16))
    x, *rest = inputs((1, 16, 16))
    before = run(network, x, *rest)
    for row, column in [(0, 0), (7, 8), (15, 15)]:
        moved = x.clone()
        moved[:, 0, row, column] += 0.5
        assert ((run(network, moved, *rest) - before).abs() > 0).all()


def test_the_answer_does_not_depend_on_the_layout_in_memory() -> None:
    network = awake(UNET)
    x, *rest = inputs()
    plain = run(network, x, *rest)
    made = run(network, x.contiguous(memory_format=torch.channels_last), *rest)
    torch.testing.assert_close(made, plain)
    torch.testing.assert_close(run(network.to(memory_format=torch.channels_last), x, *rest), plain)


def test_in_bfloat16_it_answers_nearly_the_same_as_in_float32() -> None:
    network = awake(PATCHES).float()
    x, *rest = inputs()
    exact = run(network, x.float(), *rest)
    with torch.autocast("cpu", torch.bfloat16):
        rough = run(network, x.float(), *rest)
    assert rough.dtype == torch.float32
    assert 0 < ((rough - exact).norm() / exact.norm()).item() < 0.03


def test_it_is_sharded_by_its_residual_blocks() -> None:
    network = replace(UNET, depth=2).build((3, 8, 8), {})
    units = list(network.shard_units())
    assert len(units) == 12
    assert all(any(unit is module for module in network.modules()) for unit in units)


@pytest.mark.parametrize("shape", [(2,), (16, 7)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    message = r"a U-Net takes images \(channels, height, width\), not events of shape .*: use network mlp"
    with pytest.raises(UserError, match=message):
        UNET.build(shape, {})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"width": 0}, "width must be >= 1"), ({"levels": 0}, "levels must be >= 1"),
     ({"levels": 7}, "levels must be <= 6"), ({"depth": 0}, "depth must be >= 1"),
     ({"patch_size": 0}, "patch-size must be >= 1")],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        UNet2dConfig(**sizes)
