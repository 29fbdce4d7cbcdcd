"""robomimic's tasks against its recorded demonstrations. Most need robosuite: `make robomimic-tests`.

ROBOMIMIC_LIFT is the path of the ten demonstrations of Lift: tests/assets/test.hdf5 in the source of robomimic 0.1.0.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from shortcut_models.errors import UserError
from shortcut_models.policies.environments import (
    RobomimicLift,
    RobomimicTransport,
    offscreen,
    open_environment,
    robomimic,
)

pytestmark = pytest.mark.needs_extra

PATH = Path(os.environ.get("ROBOMIMIC_LIFT", "no file"))
VECTORS = [name for name in RobomimicLift.observation_names if not name.endswith("_image")]
CAMERAS = ("agentview_image", "robot0_eye_in_hand_image")


def test_without_the_package(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "robosuite", None)
    for name in ("robomimic-lift", "robomimic-transport"):
        with pytest.raises(UserError, match=r"pip install 'shortcut-models\[robomimic\]'"):
            open_environment(name, ["object"])


def test_unknown_observations() -> None:
    with pytest.raises(UserError, match="does not offer 'image': choose from object, robot0_joint_pos"):
        open_environment("robomimic-lift", ["image"])


def observed(kind: type[robomimic.Robosuite], found: dict[str, np.ndarray | float]) -> np.ndarray:
    """Return the observation `object` of an environment without a simulator."""
    world = object.__new__(kind)
    world.observations = ("object",)
    return world._observe(found)["object"]


def test_what_is_seen_of_lifts_objects() -> None:
    """In robomimic's files: the cube's place and turn; then the hand's place less the cube's, now turned."""
    cube, hand = np.array([0.1, 0.2, 0.8]), np.array([0.4, -0.1, 1.0])
    found = {"gripper_to_cube_pos": cube - hand, "cube_quat": np.array([0, 0, 0.6, 0.8]), "cube_pos": cube}
    seen = observed(RobomimicLift, found)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, [0.1, 0.2, 0.8, 0, 0, 0.6, 0.8, 0.3, -0.3, 0.2], atol=1e-6)


def test_what_is_seen_of_transports_objects() -> None:
    """Five places and turns or places alone, four ways, and two answers, in the order of robomimic's files."""
    names = {"payload": 7, "trash": 7, "lid_handle": 7, "target_bin": 3, "trash_bin": 3}
    ways = ("gripper0_to_payload", "gripper0_to_lid_handle", "gripper1_to_payload", "gripper1_to_trash")
    numbers, found = iter(range(39)), {}
    for name, size in names.items():
        found[f"{name}_pos"] = np.array([next(numbers) for _ in range(3)])
        if size == 7:
            found[f"{name}_quat"] = np.array([next(numbers) for _ in range(4)])
    found |= {way: np.array([next(numbers) for _ in range(3)]) for way in ways}
    answers = {"payload_in_target_bin": 1.0, "trash_in_trash_bin": 0.0}
    assert observed(RobomimicTransport, answers | found).tolist() == [*range(39), 1, 0]


@pytest.fixture(scope="module")
def lift():
    pytest.importorskip("robosuite", reason="needs robosuite")
    world = open_environment("robomimic-lift", VECTORS)
    yield world
    world.close()


@pytest.fixture(scope="module")
def recorded(lift):
    if not PATH.exists():
        pytest.skip("needs the demonstrations of Lift: set ROBOMIMIC_LIFT")
    return pytest.importorskip("h5py", reason="needs h5py").File(PATH)["data"]


def test_a_recorded_state_looks_as_it_was_recorded(recorded, lift) -> None:
    for name, episode in recorded.items():
        for frame in (0, len(episode["actions"]) // 2):
            observation, _ = lift.reset_to(episode["states"][frame])
            for key in VECTORS:
                assert observation[key].dtype == np.float32
                np.testing.assert_allclose(
                    observation[key], episode["obs"][key][frame], atol=1e-5, err_msg=f"{name} {key}"
                )
    assert set(recorded["demo_0/obs"]) - set(RobomimicLift.observation_names) == {
        "robot0_eef_vel_ang",
        "robot0_eef_vel_lin",
    }


def test_recorded_actions_lift_the_cube(recorded, lift) -> None:
    """Ten of ten; robosuite and MuJoCo have changed since, so the paths differ by millimetres."""
    lifted = 0
    for episode in recorded.values():
        lift.reset_to(episode["states"][0])
        terminated = False
        for action, after in zip(episode["actions"], episode["next_obs/robot0_eef_pos"], strict=True):
            observation, _, terminated, _, _ = lift.step(action)
            np.testing.assert_allclose(observation["robot0_eef_pos"], after, atol=0.03)
            if terminated:
                break
        lifted += int(lift.metric())
        assert terminated == (lift.metric() == 1)
    assert lifted == len(recorded)


def test_the_controller_is_that_of_the_file(recorded) -> None:
    arguments = json.loads(recorded.attrs["env_args"])["env_kwargs"]
    theirs = arguments["controller_configs"]
    renamed = {"damping": "damping_ratio", "damping_limits": "damping_ratio_limits"}
    kept = {renamed.get(key, key): value for key, value in theirs.items() if key != "control_delta"}
    assert {key: robomimic.CONTROLLER[key] for key in kept} == kept
    assert set(robomimic.CONTROLLER) - set(kept) == {"input_type", "input_ref_frame", "gripper"}
    assert (arguments["control_freq"], arguments["camera_heights"]) == (RobomimicLift.render_fps, robomimic.IMAGE_SIZE)


def test_images_show_what_was_recorded(recorded) -> None:
    """The same things at the same places; light and floor are not those of the recordings."""
    try:
        offscreen.prepare()
    except UserError as nothing_draws:
        pytest.skip(str(nothing_draws))
    world = open_environment("robomimic-lift", CAMERAS)
    observation, _ = world.reset_to(recorded["demo_0/states"][0])
    for camera in CAMERAS:
        assert observation[camera].shape == (84, 84, 3)
        theirs = recorded["demo_0/obs"][camera][0]
        red = [np.argwhere(image[..., 0] > 2.0 * image[..., 1]).mean(0) for image in (observation[camera], theirs)]
        np.testing.assert_allclose(*red, atol=1)  # the cube
    world.close()


def episode(world, seed: int, frames: int = 5) -> np.ndarray:
    """Return the observations of an episode of a seed, with the same actions each time."""
    observations = [world.reset(seed=seed)[0]]
    actions = np.random.default_rng(0).uniform(-1, 1, (frames, world.action_space.low.size))
    observations += [world.step(action)[0] for action in actions]
    return np.stack([np.concatenate(list(one.values())) for one in observations])


def test_an_episode_follows_from_its_seed(lift) -> None:
    first, second = episode(lift, 1), episode(lift, 2)
    np.testing.assert_array_equal(first, episode(lift, 1))
    np.testing.assert_array_equal(first, episode(open_environment("robomimic-lift", VECTORS), 1))
    assert np.abs(first[0, :2] - second[0, :2]).max() > 1e-3


def test_a_state_of_another_task(lift) -> None:
    with pytest.raises(UserError, match="a state of RobomimicLift has 32 numbers, not 115"):
        lift.reset_to(np.zeros(115))


def test_transport(lift) -> None:
    names = [name for name in RobomimicTransport.observation_names if not name.endswith("_image")]
    world = open_environment("robomimic-transport", names)
    first = world.reset(seed=1)[0]
    # poses of hammer, rubbish and lid (7 each), places of two bins (3), four distances (3), two flags
    assert first["object"].shape == (41,)
    hammer, lid = first["object"][:3], first["object"][14:17]
    ways = first["object"][27:39].reshape(4, 3)
    np.testing.assert_allclose(ways[0], hammer - first["robot0_eef_pos"], atol=1e-6)
    np.testing.assert_allclose(ways[1], lid - first["robot0_eef_pos"], atol=1e-6)
    np.testing.assert_allclose(ways[2], hammer - first["robot1_eef_pos"], atol=1e-6)
    assert first["object"][39:].tolist() == [0, 0]
    np.testing.assert_array_equal(episode(world, 1, 2), episode(world, 1, 2))
    # Both arms go along the world's x, and not each along its own: they face each other.
    first = observation = world.reset(seed=1)[0]
    for _ in range(10):
        observation, *_ = world.step(np.array([1.0, 0, 0, 0, 0, 0, 0] * 2))
    assert all(observation[name][0] - first[name][0] > 0.05 for name in ("robot0_eef_pos", "robot1_eef_pos"))
    world.close()
