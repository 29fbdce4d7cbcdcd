"""The network of the paper's own code: the numbers that it gave, from its checkpoints and ours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import original_fixtures
from helpers.oracle import wake
from helpers.original_fixtures import ALL_ROWS, SOME_ROWS, group, network, trimmed, trimmed_weights
from shortcut_models.base import Label, Network, NetworkConfig, Vector
from shortcut_models.errors import UserError
from shortcut_models.networks import DiTConfig, MLPConfig
from shortcut_models.networks.layers import OriginalTimeStepEmbedding
from shortcut_models.objectives import Shortcut
from shortcut_models.original.network import Sizes, flat_parameters, to_state

SMALL = DiTConfig.original(width=16, depth=2, heads=2, patch_size=2)


def images(array: np.ndarray) -> Tensor:
    """NHWC -> NCHW."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def difference(made: Tensor, recorded: np.ndarray) -> float:
    """The largest difference, over the largest value."""
    expected = images(recorded)
    assert made.shape == expected.shape
    return float((made - expected).abs().max() / expected.abs().max())


def forward(net: Network, recorded: dict[str, np.ndarray]) -> Tensor:
    d = torch.exp2(-torch.from_numpy(recorded["dt_base"]).float())
    context = net.encode({"label": torch.from_numpy(recorded["labels"]).long()})
    with torch.no_grad():
        return net(images(recorded["x"]), torch.from_numpy(recorded["t"]), d, context)


@pytest.mark.parametrize(("ema", "name"), [(False, "v_params"), (True, "v_ema")])
def test_velocities_are_the_recorded_ones(ema: bool, name: str) -> None:
    recorded = group("forward")
    assert recorded["labels"].max() == 10, "no label is among them"
    assert set(recorded["dt_base"]) == set(range(8)), "every step size is among them"
    assert difference(forward(network("teacher", ema), recorded), recorded[name]) < 5e-6


def test_velocities_in_bfloat16_are_nearly_the_recorded_ones() -> None:
    recorded = group("forward")
    with torch.autocast("cpu", torch.bfloat16):
        made = forward(network("teacher", ema=False), recorded)
    assert made.dtype == torch.float32
    assert 1e-4 < difference(made, recorded["v_params_bf16"]) < 3e-2


def test_the_instantaneous_velocity_is_that_of_the_finest_step() -> None:
    recorded = group("forward")
    net, x, t = network("teacher", ema=True), images(recorded["x"]), torch.from_numpy(recorded["t"])
    context = net.encode({"label": torch.zeros(len(x), dtype=torch.int64)})
    with torch.no_grad():
        instant, finest, next_to_it = (
            net(x, t, torch.full_like(t, d), context) for d in (0, 1 / 128, 1 / 64)
        )  # fmt: skip
    assert torch.equal(instant, finest)
    assert not torch.allclose(instant, next_to_it, rtol=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 0.0, 1.5])
@pytest.mark.parametrize("steps", [2**k for k in range(8)])
def test_samples_are_the_recorded_ones(guidance: float, steps: int) -> None:
    recorded = group("sampling")
    noise, cond = images(recorded["noise"]), {"label": torch.from_numpy(recorded["labels"]).long()}
    made = Shortcut().sample(network("teacher", ema=True), noise, cond, steps, guidance=guidance)
    assert difference(made, recorded[f"cfg{guidance}/steps{steps}"]) < 1e-5


def test_no_label_is_a_label_as_well_as_a_dropped_one() -> None:
    net, rows = network("teacher", ema=True), torch.arange(11)
    dropped = net.encode({"label": rows.clamp(max=9)}, rows == 10)
    assert torch.equal(net.encode({"label": rows}), dropped)
    assert torch.equal(net.encode({"label": rows}, rows % 2 == 0)[::2], dropped[10:].expand(6, -1))
    with pytest.raises(IndexError):
        net.encode({"label": rows + 1})


@pytest.mark.parametrize("config", [SMALL, DiTConfig(width=16, depth=1, heads=2), MLPConfig(width=16, depth=1)])
def test_the_label_after_the_last_means_no_label_to_every_network(config: NetworkConfig) -> None:
    net = wake(config.build((1, 4, 4), {"label": Label(3), "state": Vector(2)}))
    state = torch.randn(4, 2)
    found = net.encode({"label": torch.tensor([0, 1, 2, 3]), "state": state})
    none = torch.tensor([False, False, False, True])
    bare = net.conditions.null["label"] + net.conditions.embed["state"](state)  # type: ignore[union-attr, index, operator]
    torch.testing.assert_close(found[none], bare[none])
    assert not torch.isclose(found[~none], bare[~none]).all(1).any()


def test_parameters_go_to_ours_and_back_unchanged() -> None:
    for name, arrays in trimmed_weights().items():
        which, kind = name.split(".")
        found = flat_parameters(network(which, ema=kind == "ema"))  # type: ignore[arg-type]
        assert found.keys() == arrays.keys() - {"Embed_0.embedding"}
        assert all(np.array_equal(found[key], arrays[key]) for key in found)
        sizes = Sizes.of({key: array.shape for key, array in arrays.items()})
        assert sizes == Sizes(width=64, depth=2, patch_size=2, channels=4, hidden=256, classes=10)
        assert sizes.shapes() == {key: array.shape for key, array in found.items()}


@pytest.mark.parametrize(("patch_size", "channels", "classes", "ratio"), [(1, 1, 1, 1.5), (4, 3, 0, 0.7)])
def test_other_sizes_go_to_theirs_and_back_unchanged(
    patch_size: int, channels: int, classes: int, ratio: float
) -> None:
    config = DiTConfig.original(width=12, depth=11, heads=3, patch_size=patch_size, mlp_ratio=ratio)
    net = wake(config.build((channels, 8, 8), {"label": Label(classes)} if classes else {}))
    arrays = flat_parameters(net)
    sizes = Sizes.of({key: array.shape for key, array in arrays.items()})
    assert (sizes.width, sizes.depth, sizes.patch_size) == (12, 11, patch_size)
    assert (sizes.channels, sizes.classes, sizes.hidden) == (channels, classes, int(12 * ratio))
    state = to_state(arrays, sizes)
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_the_hidden_size_survives_as_a_ratio() -> None:
    for width in range(4, 1200, 4):
        for hidden in (1, width - 1, width, 4 * width - 1, 4 * width, 4 * width + 1):
            config = Sizes(width, 1, 2, 3, hidden, 10).config(heads=1)
            assert int(width * config.mlp_ratio) == hidden, (width, hidden)


def test_only_the_original_variant_has_the_original_names() -> None:
    with pytest.raises(UserError, match=r"pass DiTConfig\.original"):
        flat_parameters(DiTConfig(width=16, depth=1, heads=2).build((3, 8, 8), {}))


def test_the_sinusoids_are_the_original_ones() -> None:
    embedding = OriginalTimeStepEmbedding(8)
    value = np.array([0.0, 1 / 128, 0.5, 1.0, 7.0])
    angles = value[:, None] * np.exp(-np.log(10000) * np.arange(128) / 128)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], 1)
    found = embedding.time_features(torch.tensor(value, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(embedding.level_features(torch.tensor(value, dtype=torch.float32)).numpy(), found)


def test_it_trains_in_every_way_that_ours_does() -> None:
    """A gradient for every parameter, also at d = 0, and a derivative along t and d."""
    net = wake(SMALL.build((3, 8, 8), {"label": Label(3)}))
    x, t, d = torch.randn(4, 3, 8, 8), torch.tensor([0.0, 0.5, 0.25, 1.0]), torch.tensor([0.0, 0.5, 1 / 128, 1.0])
    cond, drop = {"label": torch.tensor([0, 1, 2, 0])}, torch.tensor([False, False, False, True])
    net(x, t, d, net.encode(cond, drop)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    context = net.encode(cond).detach()
    moved = d.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(x, t, moved, context).sum(), moved)
    assert slope.isfinite().all()
    tangents = (torch.randn_like(x), torch.ones(4), torch.zeros(4))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        _, along = torch.func.jvp(lambda *point: net(*point, context), (x, t, d), tangents)
        step = 1e-3
        ends = [net(x + s * tangents[0], t + s, d, context).detach() for s in (step, -step)]
    along = along.detach()
    assert float((along - (ends[0] - ends[1]) / (2 * step)).abs().max() / along.abs().max()) < 1e-2


def test_ours_is_what_it_was() -> None:
    """The preset is something to ask for."""
    ours, theirs = DiTConfig(width=16, depth=2, heads=2), SMALL
    assert ours.variant == "ours"
    assert theirs.variant == "original"
    scales = [config.build((3, 8, 8), {}).blocks[0].scale for config in (ours, theirs)]  # type: ignore[union-attr]
    assert scales == [8**-0.5, 1 / 8]


@pytest.mark.skipif(not original_fixtures.have_whole(), reason="../shared/fixtures/original is not there")
def test_the_trimmed_numbers_are_among_the_whole_ones() -> None:
    whole, kept = original_fixtures.fixtures(), trimmed()
    for name, value in kept.items():
        assert np.array_equal(value, whole[name][: len(value)] if value.ndim else whole[name]), name
    assert {name for name in whole if name.startswith((*ALL_ROWS, *SOME_ROWS))} < kept.keys()
    weights = original_fixtures.read_weights()
    for name, arrays in trimmed_weights().items():
        assert all(np.array_equal(arrays[key], weights[name][key]) for key in weights[name]), name
    assert original_fixtures.TRIMMED.stat().st_size < 3e6


def test_the_trimmed_numbers_make_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = flat_parameters(network("student", ema=True))
    monkeypatch.setattr(original_fixtures, "have_whole", lambda: False)
    again = flat_parameters(network("student", ema=True))
    assert all(np.array_equal(again[key], usual[key]) for key in usual)
    for which, ema in itertools.product(("teacher", "student"), (False, True)):
        if (which, ema) != ("student", False):
            network(which, ema)  # type: ignore[arg-type]
