"""Meta-World: fifty tasks of an arm on a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from . import offscreen
from .base import Box, Observation, Reset, Simulated, Step, seed_or_random

TASKS = """
assembly basketball bin-picking box-close button-press-topdown button-press-topdown-wall button-press button-press-wall
coffee-button coffee-pull coffee-push dial-turn disassemble door-close door-lock door-open door-unlock hand-insert
drawer-close drawer-open faucet-open faucet-close hammer handle-press-side handle-press handle-pull-side handle-pull
lever-pull pick-place-wall pick-out-of-hole pick-place plate-slide plate-slide-side plate-slide-back
plate-slide-back-side peg-insert-side peg-unplug-side soccer stick-push stick-pull push push-wall push-back reach
reach-wall shelf-place sweep-into sweep window-open window-close
"""
EXTRA = "meta-world needs an extra: pip install 'shortcut-models[meta-world]'"


class MetaWorld(Simulated):
    """A Sawyer arm, moved by its hand, in one of the fifty tasks of Yu et al. (2019), arXiv 1910.10897.

    Observation `state`: hand, gripper opening and objects in this frame (18) and in the one before (18), and the goal
    (3), in metres. Action: velocity of the hand along x, y and z, and force of the gripper, in [-1, 1]. Objects and
    goal follow from the seed. The success is 1 once the task is solved, which ends the episode, as 500 frames do.
    """

    tasks = tuple(f"{name}-v3" for name in TASKS.split())  # the values of TASK in meta-world/TASK
    observation_names = ("state",)
    metric_name = "success"
    max_episode_steps = 500
    render_fps = 80
    packages = ("metaworld", "mujoco")
    action_space = Box(np.full(4, -1, np.float32), np.full(4, 1, np.float32))

    def __init__(self, observations: Sequence[str] | None = (), *, task: str) -> None:
        """Open the simulator of a task, one of `tasks`."""
        super().__init__(observations)
        simulators = offscreen.import_module("metaworld", EXTRA).ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        self.task = task
        self.simulator = simulators[f"{task}-goal-observable"](render_mode="rgb_array", seed=0)
        # A reset draws a new state from the generator that seed() sets.
        self.simulator._freeze_rand_vec, self.simulator.seeded_rand_vec = False, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode with objects and goal at the places of a seed."""
        self.simulator.seed(seed_or_random(seed))
        state, info = self.simulator.reset()
        self._start()
        return self._observe(state), info

    def step(self, action: Float[np.ndarray, "n"]) -> Step:
        """Move for 1/80 s."""
        state, reward, _, _, info = self.simulator.step(self.clip_action(action))
        self.score = max(self.score, float(bool(info["success"])))
        return self._step(self._observe(state), reward, bool(self.score), info)

    def _observe(self, state: np.ndarray) -> Observation:
        return {"state": state.astype(np.float32)} if self.observations else {}

    def render(self) -> UInt8[np.ndarray, "480 480 3"]:
        """Return a picture from the far side of the table."""
        offscreen.prepare()
        return self.simulator.render()
