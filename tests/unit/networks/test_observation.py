"""Encoders of observations against closed forms and a forward pass by hand, and what all networks owe conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.numpy_layers import convolve, group_norm, linear, silu
from helpers.oracle import wake
from shortcut_models.base import Batch, Cond, Condition, Frames, Label, NetworkConfig, Vector
from shortcut_models.errors import UserError
from shortcut_models.networks import ChunkDiTConfig, DiTConfig, MLPConfig, UNet1dConfig
from shortcut_models.networks.layers import ConditionEmbedding
from shortcut_models.networks.observation import ImageEncoder, ObservationSizes, SpatialSoftmax
from shortcut_models.objectives import BehaviourCloning, Shortcut

HEIGHT, WIDTH = 7, 11
FRAMES = Frames(history=3, channels=2, height=24, width=32)
SIZES: dict[str, Any] = {"image_width": 4, "image_stages": 2, "keypoints": 5}
CONDITIONS: dict[str, Condition] = {"label": Label(3), "state": Vector(4), "camera": FRAMES, "wrist": FRAMES}
POLICIES: list[tuple[NetworkConfig, tuple[int, ...]]] = [
    (MLPConfig(width=16, depth=1, condition_width=16, **SIZES), (6, 3)),
    (UNet1dConfig(width=8, condition_width=16, **SIZES), (6, 3)),
    (ChunkDiTConfig(width=16, depth=1, heads=2, **SIZES), (6, 3)),
    (DiTConfig(width=16, depth=1, heads=2), (1, 4, 4)),
]
ROWS = 4


def observations() -> dict[str, Tensor]:
    images = lambda: torch.rand(ROWS, FRAMES.history, FRAMES.channels, FRAMES.height, FRAMES.width) * 2 - 1
    return {
        "label": torch.arange(ROWS) % 3,
        "state": torch.randn(ROWS, 4),
        "camera": images(),
        "wrist": images(),
    }


@pytest.mark.parametrize("row", [0, 3, HEIGHT - 1])
@pytest.mark.parametrize("column", [0, 4, WIDTH - 1])
@pytest.mark.parametrize("height_of_peak", [0.0, 2.0, 100.0])
def test_one_hot_pixel_has_a_closed_form(row: int, column: int, height_of_peak: float) -> None:
    """The others share 1 - p evenly; as all places add up to 0, their mean is that of the hot one, turned round."""
    maps = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.float64)
    maps[0, 0, row, column] = height_of_peak
    found = SpatialSoftmax(HEIGHT, WIDTH).double()(maps)
    place = torch.tensor([2 * column / (WIDTH - 1) - 1, 2 * row / (HEIGHT - 1) - 1], dtype=torch.float64)
    rest = HEIGHT * WIDTH - 1
    share = np.exp(height_of_peak) / (np.exp(height_of_peak) + rest)
    torch.testing.assert_close(found[0], place * (share - (1 - share) / rest), rtol=0, atol=1e-7)


def test_points_move_with_the_maps_and_keep_to_their_channels() -> None:
    maps = torch.full((2, 3, HEIGHT, WIDTH), -1e4, dtype=torch.float64)
    maps[:, :, 1:4, 2:6] = torch.randn(2, 3, 3, 4, dtype=torch.float64)
    points = SpatialSoftmax(HEIGHT, WIDTH).double()
    before, after = (points(each).unflatten(1, (2, 3)) for each in (maps, maps.roll((3, 5), (2, 3))))
    moved = torch.tensor([5 * 2 / (WIDTH - 1), 3 * 2 / (HEIGHT - 1)], dtype=torch.float64)
    torch.testing.assert_close(after - before, moved[:, None].expand(2, 2, 3))
    torch.testing.assert_close(points(maps[:, [2, 0, 1]]).unflatten(1, (2, 3)), before[:, :, [2, 0, 1]])
    torch.testing.assert_close(points(maps + 5), points(maps))


def encoder_by_hand(encoder: ImageEncoder, frames: np.ndarray) -> np.ndarray:
    """Frames [history, channels, height, width] of one example -> a vector, as the docstrings have it."""
    h = convolve(encoder.proj_in, np.concatenate(list(frames)))
    for block in encoder.blocks:
        change = convolve(block.conv1, silu(group_norm(block.norm1, h)))
        change = convolve(block.conv2, silu(group_norm(block.norm2, change)))
        h = change + (h if isinstance(block.shortcut, torch.nn.Identity) else convolve(block.shortcut, h))
    maps = convolve(encoder.proj_out[2], silu(group_norm(encoder.proj_out[0], h)))
    shares = [np.exp(each - each.max()) for each in maps]
    shares = [each / each.sum() for each in shares]
    rows, columns = maps.shape[1:]
    x = [sum(share[i, j] * (2 * j / (columns - 1) - 1) for i, j in np.ndindex(rows, columns)) for share in shares]
    y = [sum(share[i, j] * (2 * i / (rows - 1) - 1) for i, j in np.ndindex(rows, columns)) for share in shares]
    return linear(encoder.mlp[2], silu(linear(encoder.mlp[0], np.array(x + y))))


@pytest.mark.parametrize(
    ("frames", "sizes"),
    [
        (FRAMES, ObservationSizes(**SIZES)),
        (Frames(1, 3, 19, 42), ObservationSizes(image_width=16, image_stages=2, image_depth=2, keypoints=2)),
        (Frames(2, 1, 8, 9), ObservationSizes(image_width=3, image_stages=1, keypoints=3)),
    ],
)
def test_the_image_encoder_equals_a_forward_pass_by_hand(frames: Frames, sizes: ObservationSizes) -> None:
    encoder = ImageEncoder(frames, sizes, 6).double()
    with torch.no_grad():
        encoder.proj_out[2].weight.mul_(20)  # so that the points are far from the middle
    images = torch.rand(2, frames.history, frames.channels, frames.height, frames.width, dtype=torch.float64) * 2 - 1
    made = encoder(images).detach().numpy()
    for row in range(2):
        np.testing.assert_allclose(made[row], encoder_by_hand(encoder, images[row].numpy()), rtol=0, atol=1e-7)


def test_every_pixel_of_every_frame_reaches_the_encoders_output() -> None:
    encoder = ImageEncoder(FRAMES, ObservationSizes(**SIZES), 6)
    images = (torch.rand(1, 3, 2, 24, 32) * 2 - 1).requires_grad_()
    encoder(images).square().sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).all()
    assert not torch.allclose(encoder(images.flip(1)), encoder(images))  # and their order counts


@pytest.mark.parametrize("stages", [2, 3, 5])
def test_images_that_are_too_small_are_refused(stages: int) -> None:
    least = 4 * 2 ** (stages - 1) + 4  # two cells of the last grid
    sizes = ObservationSizes(image_width=1, image_stages=stages, keypoints=1)
    ImageEncoder(Frames(1, 1, least, 200), sizes, 2)(torch.zeros(1, 1, 1, least, 200))
    with pytest.raises(UserError, match=f"200 x {least - 1} pixels are too small for image-stages {stages}"):
        ImageEncoder(Frames(1, 1, 200, least - 1), sizes, 2)


@pytest.mark.parametrize(("config", "shape"), POLICIES)
def test_every_condition_reaches_the_output_until_it_is_dropped(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    network = wake(config.build(shape, CONDITIONS)).double()
    with torch.no_grad():  # random weights with hardly a feature: let the points move
        for name, weight in network.named_parameters():
            weight.mul_(10 if ".proj_out.2.weight" in name else 1)
    x, t = torch.randn(ROWS, *shape, dtype=torch.float64), torch.full((ROWS,), 0.5)
    doubled = lambda cond: {name: value if name == "label" else value.double() for name, value in cond.items()}
    answer = lambda cond, drop: network(x, t, t, network.encode(doubled(cond), drop))
    cond, other, drop = observations(), observations(), torch.tensor([False, True, False, True])
    other["label"] = (other["label"] + 1) % 3
    before, kept = answer(cond, None), answer(cond, drop)
    torch.testing.assert_close(kept[~drop], before[~drop])
    for name in CONDITIONS:
        changed = cond | {name: other[name]}
        difference = (answer(changed, None) - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
        assert difference.min() > 1e-5, name
        after = answer(changed, drop)
        assert torch.equal(after[drop], kept[drop])
        assert not torch.isclose(after[~drop], kept[~drop]).flatten(1).all(1).any()


def test_dropped_images_and_vectors_become_their_learned_nulls() -> None:
    embedding = wake(ConditionEmbedding({"camera": FRAMES, "state": Vector(4)}, 8, ObservationSizes(**SIZES)))
    cond: Cond = {name: observations()[name] for name in ("camera", "state")}
    null: Any = embedding.null
    dropped = embedding(cond, torch.ones(ROWS, dtype=torch.bool))
    torch.testing.assert_close(dropped, (null["camera"] + null["state"]).expand(ROWS, 8))


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_the_encoder_runs_once_however_many_steps_there_are(guidance: float) -> None:
    network: Any = UNet1dConfig(width=8, **SIZES).build((6, 3), {"camera": FRAMES})
    runs: list[int] = []
    network.conditions.embed["camera"].register_forward_pre_hook(lambda _, inputs: runs.append(len(inputs[0])))
    cond = {"camera": observations()["camera"]}
    Shortcut().sample(network, torch.randn(ROWS, 6, 3), cond, 16, guidance=guidance)
    assert runs == [ROWS if guidance == 1 else 2 * ROWS]


@pytest.mark.parametrize(
    ("config", "shape"), [*(pytest.param(*each, marks=pytest.mark.long) for each in POLICIES[:2]), POLICIES[2]]
)
def test_a_policy_learns_eight_examples_by_heart(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    """Whose images alone tell them apart."""
    sizes: Any = {"width": 32, "image_width": 8}
    network = replace(config, **sizes).build(shape, {"camera": Frames(2, 1, 24, 24)})
    objective, optimizer = BehaviourCloning(label_dropout=0.0), torch.optim.Adam(network.parameters())
    batch = Batch(torch.rand(8, *shape) * 2 - 1, {"camera": torch.rand(8, 2, 1, 24, 24) * 2 - 1})
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 150)
        objective.losses(network, network, batch).per_example.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    made = objective.sample(network, torch.randn(8, *shape), batch.cond, 1)
    error = (made - batch.data).square().mean() / batch.data.square().mean()
    assert error < 0.01
