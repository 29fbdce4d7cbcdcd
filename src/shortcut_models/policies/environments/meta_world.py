"""Meta-World: fifty tasks of an arm on a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from . import offscreen
from .base import Environment, Observation

TASKS = """
assembly basketball bin-picking box-close button-press-topdown button-press-topdown-wall button-press button-press-wall
coffee-button coffee-pull coffee-push dial-turn disassemble door-close door-lock door-open door-unlock hand-insert
drawer-close drawer-open faucet-open faucet-close hammer handle-press-side handle-press handle-pull-side handle-pull
lever-pull pick-place-wall pick-out-of-hole pick-place plate-slide plate-slide-side plate-slide-back
plate-slide-back-side peg-insert-side peg-unplug-side soccer stick-push stick-pull push push-wall push-back reach
reach-wall shelf-place sweep-into sweep window-open window-close
"""
EXTRA = "meta-world needs an extra: pip install 'shortcut-models[meta-world]'"


class MetaWorld(Environment):
    """A Sawyer arm that is moved by its hand, in one of the fifty tasks of Yu et al. (2019), arXiv 1910.10897.

    Observation `state`: hand, gripper opening and objects now (18) and a frame ago (18), and the goal (3), in metres.
    Action: velocity of the hand along x, y and z, and force of the gripper, in [-1, 1]. Objects and goal follow from
    the seed. The success is 1 once the task has been solved, which ends the episode; else it ends after 500 frames.
    """

    tasks = tuple(f"{name}-v3" for name in TASKS.split())
    """that can follow the slash in meta-world/TASK"""
    sees = ("state",)
    measure = "success"
    max_frames = 500
    frames_per_second = 80
    packages = ("metaworld", "mujoco")
    low = np.full(4, -1, np.float32)
    high = np.full(4, 1, np.float32)

    def __init__(self, observations: Sequence[str] | None = (), *, task: str) -> None:
        """observations: ("state",); task: one of `tasks`. Raises UserError where metaworld is missing."""
        super().__init__(observations)
        worlds = offscreen.import_module("metaworld", EXTRA).ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        self.task = task
        self.world: Any = worlds[f"{task}-goal-observable"](render_mode="rgb_array", seed=0)
        self.world._freeze_rand_vec, self.world.seeded_rand_vec = (
            False,
            True,
        )  # a reset draws, from the generator of seed()
        self.frames, self.success = 0, False

    def reset(self, seed: int) -> Observation:
        """Begin with objects and goal at the places of a seed."""
        self.world.seed(seed)
        state, _ = self.world.reset()
        self.frames, self.success = 0, False
        return self._observation(state)

    def step(self, action: Float[np.ndarray, "n"]) -> tuple[Observation, bool]:
        """Move for 1/80 s. Raises UserError for an action that is not four finite numbers."""
        state, _, _, _, info = self.world.step(self.bounded(action))
        self.frames += 1
        self.success |= bool(info["success"])
        return self._observation(state), self.success or self.frames >= self.max_frames

    def _observation(self, state: np.ndarray) -> Observation:
        return {"state": state.astype(np.float32)} if self.observations else {}

    def score(self) -> float:
        """1 once the task has been solved, else 0."""
        return float(self.success)

    def picture(self) -> UInt8[np.ndarray, "480 480 3"]:
        """From the far side of the table. Raises UserError where nothing can draw without a screen."""
        offscreen.prepare()
        return self.world.render()

    def close(self) -> None:
        """Let go of the renderer, if pictures were taken."""
        self.world.close()
