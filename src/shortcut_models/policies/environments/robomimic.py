"""robomimic's tasks, as robosuite 1.5 simulates them: Lift, and Transport."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError
from . import offscreen
from .base import Box, Observation, Reset, Simulated, Step, seed_or_random

EXTRA = "robomimic needs an extra: pip install 'shortcut-models[robomimic]'"
CONTROLLER = {
    "type": "OSC_POSE",
    "input_max": 1,
    "input_min": -1,
    "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5],
    "kp": 150,
    "damping_ratio": 1,
    "impedance_mode": "fixed",
    "kp_limits": [0, 300],
    "damping_ratio_limits": [0, 10],
    "position_limits": None,
    "orientation_limits": None,
    "uncouple_pos_ori": True,
    "input_type": "delta",
    "input_ref_frame": "world",
    "interpolation": None,
    "ramp_ratio": 0.2,
    "gripper": {"type": "GRIP"},
}
"""Controller of one arm, as in the `env_args` of robomimic's files, with the names of robosuite 1.5: damping became
damping_ratio, control_delta became input_type, and the frame of an action, which was always the world's, is named."""
JOINTS = ("joint_pos", "joint_pos_cos", "joint_pos_sin", "joint_vel")
HAND = ("eef_pos", "eef_quat", "gripper_qpos", "gripper_qvel")
IMAGE = "_image"
IMAGE_SIZE = 84  # pixels along an observed image


def list_observations(robots: int, cameras: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the observations of so many robots and these cameras."""
    vectors = [f"robot{robot}_{name}" for robot in range(robots) for name in JOINTS + HAND]
    return ("object", *vectors, *(camera + IMAGE for camera in cameras))


class Robosuite(Simulated):
    """What robomimic's tasks share: Panda arms, moved by changes of their hands' poses at 20 Hz.

    Observations have the names and units of robomimic's files (metres, radians, quaternions x y z w); images are 84x84.
    eef_vel_lin and eef_vel_ang of the older files do not exist in robosuite 1.5, and are left out.
    """

    metric_name = "success"
    render_fps = 20
    packages = ("robosuite", "mujoco")
    make: ClassVar[Mapping[str, Any]]  # a task's own arguments of robosuite.make
    objects: ClassVar[Mapping[str, int]]
    """the parts of `object` in the files' order, each with the sign that undoes a reversal in robosuite 1.5"""

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """Open the simulator; images need a way to draw without a screen."""
        super().__init__(observations)
        logging.getLogger("robosuite_logs").addFilter(_is_error)
        robosuite = offscreen.import_module("robosuite", EXTRA)
        robots = len(self.make["robots"])
        controller = {"type": "BASIC", "body_parts": {"right": CONTROLLER}}
        # Without lite_physics, which robosuite 1.5 added, the order within a frame is that of the recordings.
        self.simulator = robosuite.make(
            **self.make,
            controller_configs=[controller] * robots,
            control_freq=self.render_fps,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            ignore_done=True,
            lite_physics=False,
        )
        if any(name.endswith(IMAGE) for name in self.observations):
            offscreen.prepare()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode; places and sizes of objects, and poses of arms, follow from the seed."""
        # This is robosuite's only generator. Its parts hold this very object, so its state is set in place.
        self.simulator.rng.bit_generator.state = np.random.default_rng(seed_or_random(seed)).bit_generator.state
        self._start()
        return self._observe(self.simulator.reset()), {}

    def reset_to(self, state: Float[np.ndarray, "n"]) -> Reset:
        """Start with a row of `states` of robomimic's files: time, positions, velocities.

        It does not hold the sizes of objects, which differ slightly between episodes: they are those of seed 0.

        Raises:
            UserError: the state has another size.
        """
        self.reset(seed=0)
        size = self.simulator.sim.get_state().flatten().size
        if state.shape != (size,):
            raise UserError(f"a state of {type(self).__name__} has {size} numbers, not {state.size}")
        self.simulator.sim.set_state_from_flattened(state)
        self.simulator.sim.forward()
        return self._observe(self.simulator._get_observations(force_update=True)), {}

    def step(self, action: Float[np.ndarray, "n"]) -> Step:
        """Act for 1/20 s."""
        state, reward, _, info = self.simulator.step(self.clip_action(action).astype(np.float64))
        self.score = max(self.score, float(bool(self.simulator._check_success())))
        return self._step(self._observe(state), reward, bool(self.score), info)

    def _observe(self, state: Mapping[str, Any]) -> Observation:
        found: dict[str, np.ndarray] = {}
        for name in self.observations:
            if name.endswith(IMAGE):
                found[name] = self._draw(name.removesuffix(IMAGE), IMAGE_SIZE)
            elif name == "object":
                parts = [np.atleast_1d(sign * np.asarray(state[part])) for part, sign in self.objects.items()]
                found[name] = np.concatenate(parts).astype(np.float32)
            else:
                found[name] = np.asarray(state[name], np.float32)
        return found

    def _draw(self, camera: str, size: int) -> UInt8[np.ndarray, "size size 3"]:
        offscreen.prepare()
        simulator = self.simulator.sim
        if simulator._render_context_offscreen is None:  # each reset builds another one
            from robosuite.utils.binding_utils import MjRenderContextOffscreen

            context = MjRenderContextOffscreen(simulator, device_id=-1)
            context.vopt.geomgroup[:2] = 0, 1  # show the visual shapes, not the collision shapes
        return np.ascontiguousarray(simulator.render(width=size, height=size, camera_name=camera)[::-1])

    def render(self) -> UInt8[np.ndarray, "480 480 3"]:
        """Return a picture of the camera in front."""
        return self._draw("frontview", 480)


class RobomimicLift(Robosuite):
    """An arm lifts a cube from a table. Action: change of the hand's pose, and the gripper, 7 in [-1, 1]."""

    make: ClassVar = {"env_name": "Lift", "robots": ["Panda"]}
    objects: ClassVar = {"cube_pos": 1, "cube_quat": 1, "gripper_to_cube_pos": -1}
    observation_names = list_observations(1, ("agentview", "robot0_eye_in_hand"))
    max_episode_steps = 400
    action_space = Box(np.full(7, -1, np.float32), np.full(7, 1, np.float32))


class RobomimicTransport(Robosuite):
    """Two arms bring a hammer from a closed bin to another table, and clear that one's bin. Action: 7 for each arm."""

    make: ClassVar = {"env_name": "TwoArmTransport", "robots": ["Panda", "Panda"], "env_configuration": "opposed"}
    objects: ClassVar = dict.fromkeys(
        [
            *("payload_pos", "payload_quat", "trash_pos", "trash_quat", "lid_handle_pos", "lid_handle_quat"),
            *("target_bin_pos", "trash_bin_pos", "gripper0_to_payload", "gripper0_to_lid_handle"),
            *("gripper1_to_payload", "gripper1_to_trash", "payload_in_target_bin", "trash_in_trash_bin"),
        ],
        1,
    )
    observation_names = list_observations(
        2, ("shouldercamera0", "robot0_eye_in_hand", "shouldercamera1", "robot1_eye_in_hand")
    )
    max_episode_steps = 700
    action_space = Box(np.full(14, -1, np.float32), np.full(14, 1, np.float32))


def _is_error(record: logging.LogRecord) -> bool:
    """Return whether a record is an error: robosuite logs a lot of advice."""
    return record.levelno >= logging.ERROR
