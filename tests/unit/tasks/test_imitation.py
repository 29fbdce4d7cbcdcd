"""The task `imitation`: statistics, what is seen, held-out error, and a policy that acts without its data."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import shortcut_models as sm
from helpers import demonstrations as demos
from helpers.demonstrations import actions, pictures, states
from shortcut_models.base import Frames, Vector
from shortcut_models.config import from_dict, to_dict
from shortcut_models.data.demonstrations import native as own
from shortcut_models.data.demonstrations import read
from shortcut_models.data.demonstrations.preprocessing import cropped
from shortcut_models.evaluation.evaluate import evaluate
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.tasks import Imitation
from shortcut_models.training.options import Training

pytestmark = pytest.mark.needs_extra


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(demos.make_native(tmp_path_factory.mktemp("demonstrations")))


def every(task: Imitation, split: str) -> sm.Batch:
    windows = task.dataset(split)
    return windows.__getitems__(list(range(len(windows))))


def frames_of(split: int, share: float, data: str) -> list[int]:
    """The frames of the training (0) or held-out (1) episodes."""
    episodes = read(data, ["state"]).split(share)[split]
    return [frame for episode in episodes for frame in demos.EPISODES[episode]]


def test_sizes_of_demonstrations_are_filled_in(data: str) -> None:
    task = Imitation(data, crop=12, history=3, chunk=4, execute=2, validation_fraction=0.5).resolve()
    assert task.observations == ("image", "state")
    assert task.shape == (4, 2)
    assert task.conditions == {"image": Frames(3, 3, 12, 12), "state": Vector(9)}
    assert (task.environment, task.seeds) == ("push-t", (100, 101, 102, 103))
    trained_on = actions()[frames_of(0, 0.5, data)]
    assert task.action_low == tuple(trained_on.min(0))
    assert task.action_high == tuple(trained_on.max(0))
    assert task.data == data
    assert from_dict(Imitation, json.loads(json.dumps(to_dict(task)))) == task


def test_the_split_is_by_episode(data: str) -> None:
    task = Imitation(data, observations=("state",), history=1, chunk=1, execute=1, validation_fraction=0.5).resolve()
    seen = [every(task, split).cond["state"][:, 0].int().tolist() for split in ("train", "test")]
    assert sorted(seen[0]) == frames_of(0, 0.5, data)
    assert sorted(seen[1]) == frames_of(1, 0.5, data)
    assert seen[1] != sorted(seen[1])  # in an order of no meaning, so that the first ones are a fair sample


def test_minimum_and_maximum_of_the_training_episodes_become_minus_one_and_one(data: str) -> None:
    task = Imitation(data, observations=("state",), history=2, chunk=1, execute=1, validation_fraction=0.5).resolve()
    batch = every(task, "train")
    x, seen = task.encode(batch.data), task.preprocess_cond(batch.cond)["state"].reshape(-1, 2, 3)
    assert x.amin((0, 1)).tolist() == pytest.approx([-1, -1])
    assert x.amax((0, 1)).tolist() == pytest.approx([1, 1])
    assert seen[..., :2].amin((0, 1)).tolist() == pytest.approx([-1, -1])
    assert seen[..., :2].amax((0, 1)).tolist() == pytest.approx([1, 1])
    assert (seen[..., 2] == 0).all()  # the constant is shifted to 0, and not divided by nothing
    np.testing.assert_allclose(task.decode(x), batch.data.numpy(), atol=1e-5)


def test_gaussian_statistics_of_the_training_episodes(data: str) -> None:
    task = Imitation(data, normalisation="gaussian", validation_fraction=0.5).resolve()
    rows = frames_of(0, 0.5, data)
    assert task.action_centre == pytest.approx(actions()[rows].mean(0))
    assert task.action_scale == pytest.approx(actions()[rows].std(0, ddof=1))
    state = dict(zip(task.observations, task.centres, strict=True))["state"], task.scales[1]
    assert state[0] == pytest.approx(states()[rows].mean(0))
    assert state[1] == pytest.approx([*states()[rows, :2].std(0, ddof=1), 1])
    assert task.centres[0] == task.scales[0] == ()


def test_numbers_that_hardly_vary_are_not_blown_up(tmp_path: Path) -> None:
    """Noise of 1e-6 stays that small under either kind."""
    own.prepare_folder(tmp_path, "", {})
    for seed in range(3):
        noise = 1e-6 * np.random.default_rng(seed).normal(size=(20, 1))
        own.write_episode(tmp_path, seed, {"state": np.concatenate([noise, states(20)], 1)}, actions(20), 0.0)
    for kind in ("min-max", "gaussian"):
        task = Imitation(str(tmp_path), normalisation=kind).resolve()  # type: ignore[arg-type]
        seen = task.preprocess_cond(every(task, "train").cond)["state"].reshape(-1, 2, 4)
        assert seen[..., 0].abs().max() < 1e-5
        assert seen[..., 1].abs().max() >= 0.999


def test_a_vector_can_be_cut(data: str) -> None:
    cut, whole = (Imitation(data, observations=(name,)).resolve() for name in ("state[:2]", "state"))
    assert (cut.names, cut.conditions) == (("state",), {"state": Vector(4)})
    expected = every(whole, "train").cond["state"].reshape(-1, 2, 3)[..., :2].flatten(1)
    assert torch.equal(every(cut, "train").cond["state"], expected)
    last = Imitation(data, observations=("state[-1:]",)).resolve()
    assert (every(last, "train").cond["state"] == 7).all()


def test_images_are_seen_from_minus_one_to_one_in_the_middle(data: str) -> None:
    task = Imitation(data, observations=("image",), crop=10).resolve()
    raw = every(task, "test").cond
    seen = task.preprocess_cond(raw)["image"]
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, raw["image"][..., 3:13, 3:13].float() / 127.5 - 1)
    whole = Imitation(data, observations=("image",)).resolve().preprocess_cond(raw)["image"]
    assert (float(whole.min()), float(whole.max())) == (-1, 1)


def test_random_crops_are_the_same_for_all_frames_of_a_row_and_follow_from_the_seed() -> None:
    place = torch.arange(16 * 12).reshape(1, 1, 1, 16, 12).expand(400, 3, 2, -1, -1)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(cropped(place, 10, at_random=True))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    corner = drawn[0][..., 0, 0]
    assert (corner == corner[:, :1, :1]).all()
    tops, lefts = corner[:, 0, 0] // 12, corner[:, 0, 0] % 12
    assert (set(tops.tolist()), set(lefts.tolist())) == (set(range(7)), set(range(3)))
    grid = place[0, 0, 0, :10, :10]
    assert torch.equal(drawn[0], corner[..., None, None] + grid)


def test_only_training_images_are_cropped_at_random(data: str) -> None:
    task = Imitation(data, observations=("image", "state"), crop=8).resolve()
    raw = every(task, "train").cond
    torch.manual_seed(0)
    at_random, middle = task.preprocess_cond(raw, training=True), task.preprocess_cond(raw)
    assert not torch.equal(at_random["image"], middle["image"])
    assert torch.equal(at_random["state"], middle["state"])
    assert torch.equal(middle["image"], task.preprocess_cond(raw)["image"])


def test_vectors_jitter_while_training_by_the_deviation_that_was_asked_for(data: str) -> None:
    task = Imitation(data, observations=("image", "state"), history=2, jitter=0.05).resolve()
    raw = every(task, "train").cond
    torch.manual_seed(0)
    change = (
        torch.stack([task.preprocess_cond(raw, training=True)["state"] for _ in range(50)])
        - task.preprocess_cond(raw)["state"]
    )
    assert change.mean().item() == pytest.approx(0, abs=0.002)
    assert change.std((0, 1)).tolist() == pytest.approx([0.05] * 6, rel=0.1)  # each number, and its own in each frame
    assert torch.corrcoef(change.flatten(0, 1).T).fill_diagonal_(0).abs().max() < 0.1
    assert torch.equal(task.preprocess_cond(raw, training=True)["image"], task.preprocess_cond(raw)["image"])


def test_what_an_environment_shows_becomes_the_conditions_of_the_data_set(data: str) -> None:
    task = Imitation(data, observations=("image", "state[:2]"), history=3, chunk=2, execute=2).resolve()
    episode = task.dataset("test").demonstrations.begins[task._demonstrations.split(0.1)[1][0]]
    frames = np.array([[episode, episode, episode + 1], [episode, episode + 1, episode + 2]])
    cond = task.raw_conditions({"image": pictures()[frames], "state": states()[frames], "more": np.zeros(3)})
    held = every(task, "test").cond
    for row in range(2):
        same = [(held[name] == cond[name][row]).flatten(1).all(1) for name in ("image", "state")]
        assert int((same[0] & same[1]).sum()) == 1
    assert {name: value.dtype for name, value in cond.items()} == {"image": torch.uint8, "state": torch.float32}


def test_errors_of_known_sizes(data: str) -> None:
    task = Imitation(data, chunk=4, execute=2, validation_fraction=0.5).resolve()
    count = 3 * len(task.dataset("test"))  # windows are counted round
    truth = task._windows(range(count)).data.numpy()
    unlabelled = np.full(count, -1)
    assert set(task.evaluate(truth, unlabelled).values()) == {0.0}
    wrong = truth.copy()
    wrong[:, 0] += np.array([3, 4], np.float32)
    wrong[:, 2:] += 1000  # never carried out
    found = task.evaluate(wrong, unlabelled)
    scale = np.array(task.action_scale)
    assert found["first_action_error_in_units"] == pytest.approx((25 / 2) ** 0.5, rel=1e-5)
    assert found["action_error_in_units"] == pytest.approx((25 / 4) ** 0.5, rel=1e-5)
    assert found["first_action_error"] == pytest.approx(np.sqrt(((3 / scale[0]) ** 2 + (4 / scale[1]) ** 2) / 2))
    assert found["action_error"] == pytest.approx(found["first_action_error"] / 2**0.5)
    assert task.draw(truth[:5], 3).size == (3 * 260, 2 * 180)


def test_no_action_leaves_the_bounds_of_those_that_were_shown(data: str) -> None:
    for kind in ("min-max", "gaussian"):
        task = Imitation(data, normalisation=kind).resolve()  # type: ignore[arg-type]
        made = task.decode(100 * torch.randn(50, *task.shape))
        assert made.dtype == np.float32
        assert made.min((0, 1)).tolist() == list(task.action_low)
        assert made.max((0, 1)).tolist() == list(task.action_high)


def walks(folder: Path) -> str:
    """A point in the plane that is to go to the middle: its action is a tenth of the way."""
    own.prepare_folder(folder, "", {})
    for seed in range(12):
        place, seen = np.random.default_rng(seed).uniform(-1, 1, 2), []
        for _ in range(30):
            seen.append(place)
            place = place - 0.1 * place
        own.write_episode(folder, seed, {"state": np.array(seen)}, -0.1 * np.array(seen), 1.0)
    return str(folder)


def test_a_policy_is_trained_and_acts_after_its_data_is_gone(tmp_path: Path) -> None:
    task = Imitation(walks(tmp_path / "walks"), observations=("state",), history=1, chunk=4, execute=2).resolve()
    training = Training(
        train_steps=250, batch_size=64, learning_rate=5e-3, warmup=20, weight_decay=0.0, device="cpu", sample_every=250,
        heldout_every=125, checkpoint_every=250, side_share=1.0,
    )  # fmt: skip
    network = MLPConfig(width=32, depth=2).build(task.shape, task.conditions)
    model = sm.fit(network, FlowMatching(max_steps=8), task, run=tmp_path / "run", training=training, quiet=True)
    assert list((tmp_path / "run" / "samples").iterdir())
    measured = evaluate(model, [1, 4], 40, quiet=True)["steps"]["4"]
    assert measured["action_error"] < 0.3

    shutil.rmtree(tmp_path / "walks")
    alone = sm.load(tmp_path / "run")
    assert alone.task == dataclasses.replace(task)
    place = np.random.default_rng(99).uniform(-0.5, 0.5, (64, 1, 2))
    cond = alone.task.raw_conditions({"state": place})  # type: ignore[attr-defined]
    made = alone.sample_from(torch.randn(64, *alone.task.shape), 4, cond)
    np.testing.assert_allclose(made[:, 0], -0.1 * place[:, 0], atol=0.05)
    with pytest.raises(sm.UserError, match="walks: this does not exist"):
        alone.sample(4)
