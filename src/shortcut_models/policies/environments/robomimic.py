"""robomimic's tasks, as robosuite 1.5 simulates them: Lift, and Transport."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError
from . import offscreen
from .base import Environment, Observation

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
"""Of one arm, as in the `env_args` of robomimic's files, in robosuite 1.5's words: damping became damping_ratio,
control_delta became input_type, and the frame of an action, then always the world's, has to be named."""
JOINTS = ("joint_pos", "joint_pos_cos", "joint_pos_sin", "joint_vel")
HAND = ("eef_pos", "eef_quat", "gripper_qpos", "gripper_qvel")
IMAGE = "_image"
SIDE = 84
"""pixels along an observed image"""


def names_seen(robots: int, cameras: Sequence[str]) -> tuple[str, ...]:
    """The names of what is observed with so many robots and these cameras."""
    vectors = [f"robot{robot}_{name}" for robot in range(robots) for name in JOINTS + HAND]
    return ("object", *vectors, *(camera + IMAGE for camera in cameras))


class Robosuite(Environment):
    """What robomimic's tasks have in common: Panda arms that are moved by the change of their hands' poses, 20 Hz.

    Observations have the names of robomimic's files, in their units (metres, radians, quaternions x y z w); images are
    84x84. eef_vel_lin and eef_vel_ang of the older files are nothing that robosuite 1.5 knows, and are left out.
    """

    measure = "success"
    frames_per_second = 20
    packages = ("robosuite", "mujoco")
    make: ClassVar[Mapping[str, Any]]
    """arguments of robosuite.make that a task has of its own"""
    objects: ClassVar[Mapping[str, int]]
    """what `object` is made of, in the files' order, with the sign that undoes what robosuite 1.5 turned round"""

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """observations: which of `sees`; images need a way to draw without a screen.

        Raises UserError where robosuite is missing, and where images are asked for and nothing can draw.
        """
        super().__init__(observations)
        logging.getLogger("robosuite_logs").addFilter(_grave)
        robosuite = offscreen.import_module("robosuite", EXTRA)
        robots = len(self.make["robots"])
        controller = {"type": "BASIC", "body_parts": {"right": CONTROLLER}}
        # lite_physics came with robosuite 1.5. Without it, the order within a frame is that of the recordings.
        self.world: Any = robosuite.make(
            **self.make,
            controller_configs=[controller] * robots,
            control_freq=self.frames_per_second,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            ignore_done=True,
            lite_physics=False,
        )
        self.frames, self.success = 0, False
        if any(name.endswith(IMAGE) for name in self.observations):
            offscreen.prepare()

    def reset(self, seed: int) -> Observation:
        """Begin with the objects' places and sizes, and the arms' poses, that follow from a seed."""
        # The one source of chance in robosuite; its parts hold this object too, so it is set, and not replaced.
        self.world.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        self.frames, self.success = 0, False
        return self._observation(self.world.reset())

    def reset_to(self, state: Float[np.ndarray, "n"]) -> Observation:
        """Begin with a row of `states` of robomimic's files: time, positions, velocities.

        It does not hold the sizes of objects, which differ a little from episode to episode: they are those of seed 0.
        Raises UserError for a state of another size.
        """
        self.reset(0)
        size = self.world.sim.get_state().flatten().size
        if state.shape != (size,):
            raise UserError(f"a state of {type(self).__name__} has {size} numbers, not {state.size}")
        self.world.sim.set_state_from_flattened(state)
        self.world.sim.forward()
        return self._observation(self.world._get_observations(force_update=True))

    def step(self, action: Float[np.ndarray, "n"]) -> tuple[Observation, bool]:
        """Act for 1/20 s. Raises UserError for an action of another size, or not finite."""
        found, _, _, _ = self.world.step(self.bounded(action).astype(np.float64))
        self.frames += 1
        self.success |= bool(self.world._check_success())
        return self._observation(found), self.success or self.frames >= self.max_frames

    def _observation(self, found: Mapping[str, Any]) -> Observation:
        seen: dict[str, np.ndarray] = {}
        for name in self.observations:
            if name.endswith(IMAGE):
                seen[name] = self._draw(name.removesuffix(IMAGE), SIDE)
            elif name == "object":
                parts = [np.atleast_1d(sign * np.asarray(found[part])) for part, sign in self.objects.items()]
                seen[name] = np.concatenate(parts).astype(np.float32)
            else:
                seen[name] = np.asarray(found[name], np.float32)
        return seen

    def _draw(self, camera: str, side: int) -> UInt8[np.ndarray, "side side 3"]:
        offscreen.prepare()
        simulator = self.world.sim
        if simulator._render_context_offscreen is None:  # each reset builds another simulator
            from robosuite.utils.binding_utils import MjRenderContextOffscreen

            context = MjRenderContextOffscreen(simulator, device_id=-1)
            context.vopt.geomgroup[:2] = 0, 1  # the shapes to look at, not those that collide
        return np.ascontiguousarray(simulator.render(width=side, height=side, camera_name=camera)[::-1])

    def score(self) -> float:
        """1 once the task has been solved, else 0."""
        return float(self.success)

    def picture(self) -> UInt8[np.ndarray, "480 480 3"]:
        """From the camera in front. Raises UserError where nothing can draw without a screen."""
        return self._draw("frontview", 480)

    def close(self) -> None:
        """Let go of the simulator."""
        self.world.close()


class RobomimicLift(Robosuite):
    """An arm lifts a cube from a table. Action: change of the hand's place and turn, and the gripper, 7 in [-1, 1]."""

    make: ClassVar = {"env_name": "Lift", "robots": ["Panda"]}
    objects: ClassVar = {"cube_pos": 1, "cube_quat": 1, "gripper_to_cube_pos": -1}
    sees = names_seen(1, ("agentview", "robot0_eye_in_hand"))
    max_frames = 400
    low, high = np.full(7, -1, np.float32), np.full(7, 1, np.float32)


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
    sees = names_seen(2, ("shouldercamera0", "robot0_eye_in_hand", "shouldercamera1", "robot1_eye_in_hand"))
    max_frames = 700
    low, high = np.full(14, -1, np.float32), np.full(14, 1, np.float32)


def _grave(record: logging.LogRecord) -> bool:
    """Whether it is more than the advice of which robosuite gives a lot."""
    return record.levelno >= logging.ERROR
