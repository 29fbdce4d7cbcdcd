"""The networks against references written out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.numpy_layers import attention, gelu, layer_norm, linear, silu
from helpers.oracle import wake
from shortcut_models.base import Label, Network, NetworkConfig, Vector
from shortcut_models.errors import UserError
from shortcut_models.networks import NETWORKS, DiT, DiTConfig, MLPConfig
from shortcut_models.networks.dit import position_embedding
from shortcut_models.networks.layers import ConditionEmbedding, TimeStepEmbedding

DIT = DiTConfig(width=16, depth=2, heads=4, patch_size=2)
SMALL: list[NetworkConfig] = [MLPConfig(width=16, depth=2, condition_width=16), DIT]
LABEL = {"label": Label(3)}
ROWS = 6


def awake(config: NetworkConfig, shape: tuple[int, ...] = (3, 8, 12)) -> Any:
    return wake(config.build(shape, LABEL)).double()


def inputs(shape: tuple[int, ...] = (3, 8, 12)) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor], Tensor]:
    """x, t, d, conditions, and who loses them."""
    t, d = torch.arange(ROWS) / 8, torch.tensor([0.0, 1 / 128, 0.125, 0.125, 0.25, 0.25])
    cond = {"label": torch.arange(ROWS) % 3}
    return torch.randn(ROWS, *shape, dtype=torch.float64), t, d, cond, torch.arange(ROWS) % 2 == 1


def run(network: Network, x: Tensor, t: Tensor, d: Tensor, cond: dict[str, Tensor], drop: Tensor | None) -> Tensor:
    return network(x, t, d, network.encode(cond, drop))


@pytest.mark.parametrize("config", SMALL)
def test_a_new_network_answers_zero(config: NetworkConfig) -> None:
    x, *rest = inputs()
    assert torch.equal(run(config.build((3, 8, 12), LABEL), x.float(), *rest), torch.zeros(ROWS, 3, 8, 12))


@pytest.mark.parametrize("config", SMALL)
def test_a_row_depends_on_nothing_of_the_others(config: NetworkConfig) -> None:
    network, (x, t, d, cond, drop) = awake(config), inputs()
    together = run(network, x, t, d, cond, drop)
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = run(network, x[one], t[one], d[one], {"label": cond["label"][one]}, drop[one])
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", SMALL)
def test_every_input_makes_a_difference(config: NetworkConfig) -> None:
    network, (x, t, d, cond, drop) = awake(config), inputs()
    before = run(network, x, t, d, cond, None)
    changed = {
        "x": run(network, x + 0.1, t, d, cond, None),
        "t": run(network, x, t + 1 / 128, d, cond, None),
        "d": run(network, x, t, d / 2 + 2**-10, cond, None),
        "label": run(network, x, t, d, {"label": (cond["label"] + 1) % 3}, None),
        "drop": run(network, x, t, d, cond, torch.ones(ROWS, dtype=torch.bool)),
    }
    for name, after in changed.items():
        difference = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
        assert difference.min() > 1e-3, name
    kept = run(network, x, t, d, cond, drop)
    torch.testing.assert_close(kept[~drop], before[~drop])
    torch.testing.assert_close(kept[drop], changed["drop"][drop])


@pytest.mark.parametrize("config", SMALL)
def test_image_networks_in_bfloat16_answer_nearly_the_same_in_float32(config: NetworkConfig) -> None:
    network, (x, *rest) = awake(config).float(), inputs()
    exact = run(network, x.float(), *rest)
    with torch.autocast("cpu", torch.bfloat16):
        rough = run(network, x.float(), *rest)
        assert network.embed.time_features(torch.rand(3)).dtype == torch.float32
    assert rough.dtype == torch.float32
    error = ((rough - exact).norm() / exact.norm()).item()
    assert 0 < error < 0.03


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)]
)
@pytest.mark.parametrize("count", [1, 24, 600])
def test_attention_equals_a_loop_over_heads_and_queries(dtype: torch.dtype, tolerance: float, count: int) -> None:
    block = awake(DIT).blocks[0]
    with torch.no_grad():
        block.qkv.weight.mul_(8)  # so that attention is far from even
    tokens = torch.randn(1, count, 16, dtype=torch.float64).to(dtype)
    expected = attention(block, tokens[0].double().numpy(), DIT.heads)
    made = block.to(dtype).attention(tokens)[0].detach().double().numpy()
    assert np.linalg.norm(made - expected) < tolerance * np.linalg.norm(expected)


def dit_by_hand(network: DiT, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The published forward pass for one image [C, H, W] and its conditioning vector, and a share of the image."""
    p, width = network.config.patch_size, network.config.width
    rows, columns = x.shape[1] // p, x.shape[2] // p
    tokens = []
    for i in range(rows):
        for j in range(columns):
            patch = x[:, i * p : (i + 1) * p, j * p : (j + 1) * p]
            place = []
            for coordinate in (j, i):
                angles = [coordinate / 10000 ** (n / (width / 4)) for n in range(width // 4)]
                place += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            tokens.append(linear(network.proj_in, patch.reshape(-1)) + place)
    h, c = np.array(tokens), silu(c)
    for block in network.blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = np.split(linear(block.modulation, c), 6)
        h = h + gate1 * attention(block, layer_norm(h) * (1 + scale1) + shift1, network.config.heads)
        hidden = gelu(linear(block.mlp[0], layer_norm(h) * (1 + scale2) + shift2))
        h = h + gate2 * linear(block.mlp[2], hidden)
    shift, scale = np.split(linear(network.modulation, c), 2)
    pieces = linear(network.proj_out, layer_norm(h) * (1 + scale) + shift)
    made = np.zeros_like(x)
    for number, piece in enumerate(pieces):
        i, j = divmod(number, columns)
        made[:, i * p : (i + 1) * p, j * p : (j + 1) * p] = piece.reshape(-1, p, p)
    return made + linear(network.skip, c)[:, None, None] * x


@pytest.mark.parametrize("config", [DIT, replace(DIT, heads=1, patch_size=4, mlp_ratio=2.5)])
def test_dit_equals_a_forward_pass_by_hand(config: DiTConfig) -> None:
    network, (x, t, d, cond, drop) = awake(config), inputs()
    made = run(network, x, t, d, cond, drop).detach().numpy()
    c = (network.embed(t, d) + network.encode(cond, drop)).detach().numpy()
    for row in range(ROWS):
        expected = dit_by_hand(network, x[row].numpy(), c[row])
        np.testing.assert_allclose(made[row], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_blocks_start_as_the_identity() -> None:
    network = DIT.build((3, 8, 12), LABEL)
    tokens = torch.randn(2, 24, 16)
    for block in network.blocks:
        assert torch.equal(block(tokens, torch.randn(2, 16)), tokens)


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_patches_are_row_by_row_and_come_back(patch_size: int) -> None:
    network = replace(DIT, patch_size=patch_size).build((3, 8, 12), {})
    x = torch.randn(2, 3, 8, 12)
    tokens = network.patchify(x)
    assert tokens.shape == (2, 96 // patch_size**2, 3 * patch_size**2)
    assert torch.equal(tokens[:, 1], x[:, :, :patch_size, patch_size : 2 * patch_size].flatten(1))
    assert torch.equal(network.unpatchify(tokens), x)


@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (4, 9)])
def test_positions_are_distinct(rows: int, columns: int) -> None:
    places = position_embedding(384, rows, columns)
    distance = torch.cdist(places, places) + 1e3 * torch.eye(len(places))
    assert places.shape == (rows * columns, 384)
    assert distance.min() > 0.1 * places.norm(dim=1).mean()


@pytest.mark.parametrize(("size", "published"), [("s", 33e6), ("b", 130e6), ("l", 458e6), ("xl", 675e6)])
def test_parameter_counts_are_those_published(size: str, published: float) -> None:
    """Table 1 of Peebles and Xie (2023), for 32 x 32 latents of ImageNet's 1,000 classes."""
    with torch.device("meta"):
        network = NETWORKS[f"dit-{size}"]().build((4, 32, 32), {"label": Label(1000)})
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(published, rel=0.02)


def test_activation_checkpointing_changes_memory_and_nothing_else() -> None:
    x, t, d, cond, drop = inputs()
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        network = awake(replace(DIT, checkpointing=checkpointing))
        runs: list[int] = []
        for number, block in enumerate(network.blocks):
            block.register_forward_pre_hook(lambda *_, number=number, runs=runs: runs.append(number))
        made = run(network, x, t, d, cond, drop)
        made.square().sum().backward()
        assert runs == ([0, 1, 1, 0] if checkpointing else [0, 1])
        results.append([made, *(parameter.grad for parameter in network.parameters())])
        with torch.no_grad():
            run(network, x, t, d, cond, drop)
        assert runs[-2:] == [0, 1]
    for plain, saved in zip(*results, strict=True):
        torch.testing.assert_close(plain, saved, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (DIT, (2,), "network mlp"),
        (DIT, (16, 7), "network mlp"),
        (replace(DIT, patch_size=3), (3, 8, 12), "patch-size 3 does not divide"),
        (replace(DIT, patch_size=8), (3, 8, 12), "patch-size 8 does not divide"),
        (replace(DIT, heads=3), (3, 8, 12), "heads 3 does not divide width 16"),
        (replace(DIT, width=18, heads=2), (3, 8, 12), "multiple of 4"),
    ],
)
def test_sizes_of_networks_that_do_not_fit_are_refused(config: DiTConfig, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.build(shape, {})


def original_time_features(t: Tensor) -> Tensor:
    """The sinusoids of the first implementation: made for times up to 1000, fed with times up to 1."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(128) / 128)
    angles = t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


def least_relative_change(features: Tensor) -> float:
    return float(((features[1:] - features[:-1]).norm(dim=1) / features[:-1].norm(dim=1)).min())


def test_neighbouring_times_are_told_apart() -> None:
    t = torch.arange(129) / 128
    embedding = TimeStepEmbedding(64)
    features = embedding.time_features(t)
    least = least_relative_change(features)
    assert least > 0.3
    assert least > 100 * least_relative_change(original_time_features(t))
    # No two times are closer than neighbours are, so that the periods do not alias.
    assert torch.nn.functional.pdist(features).min() > 0.99 * least * features[0].norm()


@pytest.mark.parametrize("config", [MLPConfig(), DiTConfig(width=64, heads=4)])
def test_a_new_network_tells_times_and_step_sizes_apart(config: NetworkConfig) -> None:
    embed: Any = config.build((1, 8, 8), {}).embed
    t, d = torch.arange(129) / 128, torch.tensor([0.0] + [2.0**-k for k in range(9)])
    times, sizes = embed(t, torch.full((129,), 0.5)), embed(torch.full((10,), 0.5), d)
    assert (times[1:] - times[:-1]).norm(dim=1).min() > 0.1 * times.std(0).norm()
    assert torch.nn.functional.pdist(sizes).min() > 0.1 * sizes.std(0).norm()


def test_step_sizes_are_told_apart() -> None:
    d = torch.tensor([0.0] + [2.0**-k for k in range(9)])
    embedding = TimeStepEmbedding(64)
    features = embedding.level_features(-torch.log2(d.clamp(min=2.0**-16)))
    assert torch.nn.functional.pdist(features).min() > 0.3 * features[0].norm()
    assert torch.isfinite(embedding(torch.zeros(10), d)).all()


def test_conditions_add_up_and_dropped_rows_get_the_null() -> None:
    embedding = ConditionEmbedding({"label": Label(3), "state": Vector(4)}, 8)
    cond = {"label": torch.tensor([2, 0]), "state": torch.randn(2, 4)}
    table, (first, _, second), null = embedding.embed["label"].weight, embedding.embed["state"], embedding.null
    hidden = cond["state"] @ first.weight.T + first.bias
    expected = table[cond["label"]] + hidden * hidden.sigmoid() @ second.weight.T + second.bias
    torch.testing.assert_close(embedding(cond), expected)
    dropped = embedding(cond, torch.tensor([False, True]))
    torch.testing.assert_close(dropped, torch.stack([expected[0], null["label"] + null["state"]]))
    assert ConditionEmbedding({}, 8)({}) is None


@pytest.mark.parametrize("cond", [{}, {"state": torch.zeros(2, 4)}])
def test_a_missing_condition_is_named(cond: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match="'label'"):
        ConditionEmbedding({"label": Label(3)}, 8)(cond)
