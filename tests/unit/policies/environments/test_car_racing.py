"""CarRacing, against gymnasium's own: the same pixels, rewards, tracks and ends."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np
import pytest

from shortcut_models.errors import UserError
from shortcut_models.policies.environments import ENVIRONMENTS, CarRacing, open_environment

pytestmark = pytest.mark.needs_extra

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra `car-racing`")


def actions(count: int, seed: int) -> np.ndarray:
    """Return actions that leave the road, turn around and skid: [count, 3]."""
    random = np.random.default_rng(seed)
    steer, brake = np.cumsum(random.normal(0, 0.1, count)), random.random(count) ** 8
    return np.stack([np.clip(steer, -1, 1), random.random(count), brake], 1).astype(np.float32)


@pytest.mark.parametrize("seed", [3, 2024])
def test_pixels_rewards_and_ends_are_gymnasiums(seed: int) -> None:
    ours = open_environment("car-racing")
    theirs = gymnasium.make("CarRacing-v3", lap_complete_percent=0.95, domain_randomize=False)
    expected, _ = theirs.reset(seed=seed)
    np.testing.assert_array_equal(ours.reset(seed=seed)[0]["image"], expected)
    total = 0.0
    for index, action in enumerate(actions(90, seed)):
        observation, reward, *ended, _ = ours.step(action)
        expected, their_reward, *their_end, _ = theirs.step(action)
        total += their_reward
        np.testing.assert_array_equal(observation["image"], expected, f"frame {index}")
        assert (reward, ended) == (their_reward, their_end)
        assert ours.metric() == pytest.approx(total, abs=1e-9)
    assert observation["image"].shape == (96, 96, 3)
    assert observation["image"].dtype == np.uint8
    ours.close()


def test_a_seed_is_a_track() -> None:
    environment = CarRacing(None)
    tracks = []
    for seed in (5, 6, 5):
        assert environment.reset(seed=seed)[0] == {}
        tracks.append(np.array(environment.simulator.track))
    np.testing.assert_array_equal(tracks[0], tracks[2])
    assert tracks[0].shape != tracks[1].shape or (tracks[0] != tracks[1]).any()


def test_without_images_nothing_is_drawn_and_the_simulation_is_the_same() -> None:
    blind, seeing = CarRacing(None), CarRacing(("image",))
    blind.simulator._render_road = None  # it would fail
    blind.reset(seed=1)
    seeing.reset(seed=1)
    for action in actions(20, 1):
        observation, *rest = blind.step(action)
        assert observation == {}
        assert rest == list(seeing.step(action)[1:])
    assert blind.metric() == seeing.metric()
    assert blind.simulator.car.hull.position == seeing.simulator.car.hull.position


def test_an_episode_ends_after_1000_frames() -> None:
    environment = CarRacing(None)
    environment.reset(seed=0)
    still = np.zeros(3, np.float32)
    assert not any(any(environment.step(still)[2:4]) for _ in range(999))
    assert environment.step(still)[2:4] == (False, True)
    visited = environment.simulator.tile_visited_count / len(environment.simulator.track)
    assert environment.metric() == pytest.approx(1000 * visited - 100)


def test_leaving_the_playing_field_costs_100() -> None:
    environment = CarRacing(None)
    environment.reset(seed=0)
    environment.simulator.car.hull.position = (400, 0)
    before = environment.metric()
    _, reward, terminated, truncated, _ = environment.step(np.zeros(3, np.float32))
    assert (reward, terminated, truncated) == (-100, True, False)
    assert environment.metric() == before - 100  # nothing else of that frame counts


def test_pictures_are_larger() -> None:
    environment = CarRacing(None)
    environment.reset(seed=0)
    picture = environment.render()
    assert picture.shape == (400, 600, 3)
    assert picture.std() > 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("car-racin", "there is no environment 'car-racin': did you mean car-racing? choose one of car-racing"),
        ("CartPole", "there is no environment 'CartPole': "),
        ("car-racing/monza", "car-racing has no tasks to choose from: leave /monza out"),
    ],
)
def test_unknown_names(name: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        open_environment(name)
    assert str(error.value).startswith(expected)
    assert "car-racing" in ENVIRONMENTS


def test_unknown_observations() -> None:
    with pytest.raises(UserError, match="CarRacing does not offer 'state': choose from image"):
        open_environment("car-racing", ("state",))


@pytest.mark.parametrize("action", [[0, np.nan, 0], [0, 0], [[0, 0, 0]]])
def test_wrong_actions_are_refused(action: Any, annotations_unchecked: None) -> None:
    environment = CarRacing(None)
    environment.reset(seed=0)
    environment.step([0, 0, 0])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="an action of CarRacing is 3 finite numbers, not "):
        environment.step(np.array(action, np.float32))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("gymnasium"):
            raise ImportError(name)
        return find(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "shortcut_models.policies.environments.car_racing_simulator", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"car-racing needs an extra: pip install 'shortcut-models\[car-racing\]'"):
        open_environment("car-racing")
