"""Push-T against Diffusion Policy's recorded demonstrations: observations, and the effects of actions."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from helpers.paths import SHARED
from shortcut_models.errors import UserError
from shortcut_models.policies.environments import open_environment

pytestmark = pytest.mark.needs_extra

pytest.importorskip("gym_pusht", reason="needs gym-pusht")

ZIP = SHARED / "data" / "pusht_cchi_v7_replay.zarr.zip"


@pytest.fixture(scope="module")
def recorded():
    zarr = pytest.importorskip("zarr", reason="needs zarr")
    if not ZIP.exists():
        pytest.skip(f"needs {ZIP.name}")
    return zarr.open_group(zarr.storage.ZipStore(ZIP, mode="r"), path=ZIP.name.removesuffix(".zip"), mode="r")


@pytest.fixture
def world():
    return open_environment("push-t", ["state"])


def test_a_recorded_state_looks_as_it_was_recorded(recorded) -> None:
    world = open_environment("push-t")
    pixels = []
    for frame in np.linspace(0, 25649, 24).astype(int):
        observation, _ = world.reset_to(recorded["data/state"][frame])
        assert observation["state"].dtype == np.float32
        np.testing.assert_array_equal(observation["state"], recorded["data/state"][frame])
        # Their points lag behind a T that moves.
        np.testing.assert_allclose(observation["keypoint"], recorded["data/keypoint"][frame].ravel(), atol=0.2)
        assert observation["image"].shape == (96, 96, 3)
        assert observation["image"].dtype == np.uint8
        pixels.append((observation["image"] != recorded["data/img"][frame]).any(-1).sum())
    assert max(pixels) <= 2  # where disc and T touch: contacts are drawn, and a state does not have them
    assert pixels.count(0) >= 12


def test_points_of_a_t_at_rest(recorded) -> None:
    world = open_environment("push-t", ["keypoint"])
    for begin in [0, *recorded["meta/episode_ends"][:5]]:  # the disc has not touched it yet
        observation, _ = world.reset_to(recorded["data/state"][begin])
        np.testing.assert_allclose(observation["keypoint"], recorded["data/keypoint"][begin].ravel(), atol=1e-4)


@pytest.mark.parametrize("episode", [0, 20, 100])
def test_recorded_actions_lead_where_they_led(recorded, world, episode) -> None:
    ends = [0, *recorded["meta/episode_ends"][:]]
    rows = slice(ends[episode], ends[episode + 1])
    states, actions = recorded["data/state"][rows], recorded["data/action"][rows]
    world.reset_to(states[0])
    scores, observation = [0.0], None
    for action, state in zip(actions, states, strict=True):
        if observation is not None:
            np.testing.assert_allclose(observation["state"], state, atol=1e-3)
        observation, reward, terminated, _, _ = world.step(action)
        scores.append(world.metric())
        assert scores[-1] == max(scores[-2], reward)
        assert terminated == (world.metric() == 1)
    assert scores == sorted(scores)
    assert scores[-1] > 0.9


def test_a_seed_begins_as_diffusion_policy_does(world) -> None:
    """The T is placed, then turned about its centre of gravity, 45 below the point that was placed."""
    for seed in (100_000, 100_001, 100_002):
        draw = np.random.RandomState(seed)
        agent = draw.randint(50, 450), draw.randint(50, 450)
        block, angle = np.array([draw.randint(100, 400), draw.randint(100, 400)]), draw.randn() * 2 * np.pi - np.pi
        turned = np.array([-np.sin(angle), np.cos(angle)]) * 45
        state = world.reset(seed=seed)[0]["state"]
        np.testing.assert_allclose(state[:2], agent)
        np.testing.assert_allclose(state[2:4], block + np.array([0, 45]) - turned, atol=1e-3)
        assert state[4] == pytest.approx(angle % (2 * np.pi), abs=1e-5)


def test_an_episode_follows_from_its_seed() -> None:
    def episode(world) -> list[np.ndarray]:
        observations = [world.reset(seed=7)[0]]
        observations += [world.step(np.array([100.0 + 10 * i, 300.0]))[0] for i in range(10)]
        return [np.concatenate([one["state"], one["image"].ravel()]) for one in observations]

    world = open_environment("push-t", ["state", "image"])
    first = episode(world)
    world.reset(seed=8)
    np.testing.assert_array_equal(first, episode(world))
    np.testing.assert_array_equal(first, episode(open_environment("push-t", ["image", "state"])))


def test_an_episode_ends_after_300_frames(world) -> None:
    world.reset(seed=0)
    ends = [world.step(np.array([20.0, 20.0]))[2:4] for _ in range(300)]
    assert ends == [(False, False)] * 299 + [(False, True)]
    assert 0 <= world.metric() < 1
    world.reset(seed=1)
    assert world.metric() == 0


def test_actions_stay_in_the_world(world) -> None:
    world.reset(seed=0)
    for _ in range(20):
        observation, *_ = world.step(np.array([9000.0, -9000.0]))
    assert ((observation["state"][:2] >= 0) & (observation["state"][:2] <= 512)).all()


def test_picture(world) -> None:
    world.reset(seed=0)
    assert world.render().shape == (512, 512, 3)


@pytest.mark.parametrize("action", [[1.0], [1.0, np.nan], [1.0, 2.0, 3.0]])
def test_wrong_actions_are_refused(world, action) -> None:
    world.reset(seed=0)
    with pytest.raises(UserError, match="an action of PushT is 2 finite numbers, not"):
        world.step(np.array(action))


def test_unknown_observations() -> None:
    with pytest.raises(UserError, match="does not offer 'img': choose from image, state, keypoint"):
        open_environment("push-t", ["img"])


def test_images_that_are_not_chosen_are_not_drawn(world, monkeypatch) -> None:
    monkeypatch.setattr(world.drawing, "image", None)
    assert list(world.reset(seed=0)[0]) == ["state"]
    assert open_environment("push-t", None).reset(seed=0)[0] == {}


def test_without_the_package(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    with pytest.raises(UserError, match=r"pip install 'shortcut-models\[push-t\]'"):
        open_environment("push-t")
