"""Meta-World: episodes follow from their seeds, and its scripts solve its tasks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from shortcut_models.errors import UserError
from shortcut_models.policies.environments import MetaWorld, offscreen, open_environment
from shortcut_models.policies.experts import open_expert

pytestmark = pytest.mark.needs_extra

metaworld = pytest.importorskip("metaworld", reason="needs metaworld")


def driven(world: MetaWorld, seed: int) -> np.ndarray:
    """Return the states and actions of the script, from the first frame to the end."""
    script, (observation, _), over = open_expert(f"meta-world/{world.task}"), world.reset(seed=seed), False
    script.begin(world)
    rows = []
    while not over:
        action = script.act(observation)
        assert action.dtype == np.float32
        assert (np.abs(action) <= 1).all()
        rows.append(np.concatenate([observation["state"], action]))
        observation, _, terminated, truncated, _ = world.step(action)
        over = terminated or truncated
    return np.stack(rows)


def test_the_tasks_are_those_of_the_package() -> None:
    from metaworld.policies import ENV_POLICY_MAP

    assert set(MetaWorld.tasks) == set(metaworld.ALL_V3_ENVIRONMENTS) == set(ENV_POLICY_MAP)
    assert len(MetaWorld.tasks) == 50


@pytest.mark.parametrize("task", ["button-press-topdown-v3", "drawer-open-v3", "pick-place-v3"])
def test_the_script_solves_its_task(task) -> None:
    world = open_environment(f"meta-world/{task}")
    frames = []
    for seed in range(3):
        frames.append(len(driven(world, seed)))
        assert world.metric() == 1
    assert max(frames) < 200
    world.close()


def test_a_perturbation_drops_nothing() -> None:
    world, script = open_environment("meta-world/peg-insert-side-v3"), open_expert("meta-world/peg-insert-side-v3")
    observation, _ = world.reset(seed=0)
    script.begin(world)
    random = np.random.default_rng(0)
    for _ in range(5):
        wanted = script.act(observation)
        perturbed = script.perturbation(world, random)
        assert perturbed[3] == wanted[3]
        assert (np.abs(perturbed[:3]) <= 1).all()
        assert np.abs(perturbed[:3] - wanted[:3]).max() > 0.01
        observation, *_ = world.step(wanted)


def test_an_episode_follows_from_its_seed() -> None:
    world = open_environment("meta-world/push-v3")
    first, second = driven(world, 3), driven(world, 4)
    np.testing.assert_array_equal(first, driven(world, 3))
    np.testing.assert_array_equal(first, driven(open_environment("meta-world/push-v3"), 3))
    assert np.abs(first[0, 36:39] - second[0, 36:39]).max() > 0.01  # the goal
    assert np.abs(first[0, 4:7] - second[0, 4:7]).max() > 0.01  # the puck


def test_an_episode_without_success_ends_after_500_frames() -> None:
    world = open_environment("meta-world/push-v3")
    state = world.reset(seed=0)[0]["state"]
    assert state.shape == (39,)
    assert state.dtype == np.float32
    ends = [world.step(np.zeros(4))[2:4] for _ in range(500)]
    assert ends == [(False, False)] * 499 + [(False, True)]
    assert world.metric() == 0


def test_picture() -> None:
    try:
        offscreen.prepare()
    except UserError as nothing_draws:
        pytest.skip(str(nothing_draws))
    world = open_environment("meta-world/reach-v3", None)
    assert world.reset(seed=0)[0] == {}
    picture = world.render()
    assert picture.shape == (480, 480, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10
    world.close()


def test_unknown_tasks_and_observations() -> None:
    with pytest.raises(UserError, match="there is no task of meta-world 'reach': did you mean reach-v3"):
        open_environment("meta-world/reach")
    with pytest.raises(UserError, match="does not offer 'image': choose from state"):
        open_environment("meta-world/reach-v3", ["image"])


@pytest.mark.parametrize("action", [[1.0] * 3, [np.inf] * 4])
def test_wrong_actions_are_refused(action) -> None:
    world = open_environment("meta-world/reach-v3")
    world.reset(seed=0)
    with pytest.raises(UserError, match="an action of MetaWorld is 4 finite numbers, not"):
        world.step(np.array(action))


def test_without_the_package(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(UserError, match=r"pip install 'shortcut-models\[meta-world\]'"):
        open_environment("meta-world/reach-v3")


def test_nothing_can_draw(monkeypatch) -> None:
    offscreen.prepare.cache_clear()
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    with pytest.raises(UserError, match="cannot draw a picture with MUJOCO_GL=crayons"):
        offscreen.prepare()
