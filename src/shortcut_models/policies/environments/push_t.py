"""Push-T of gym-pusht: a disc pushes a T onto its place on the plane."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError
from .base import Environment, Observation

KEYPOINTS = np.array(
    [
        [9.26979, 90.04097],
        [-60.98347, -1.18673],
        [60.91276, -1.39336],
        [-0.27050, 25.54362],
        [-14.06493, 122.81585],
        [39.00274, 32.85740],
        [-39.96641, 32.72966],
        [-16.82434, 62.86318],
        [23.54146, -1.70029],
    ]
)
"""Nine points of the T in its own coordinates, those of Diffusion Policy's demonstrations: drawn once, far from each
other. They were read from the frames in which the T stands still, where they fit to 0.00003 pixels."""


class PushT(Environment):
    """A disc, seen from above, pushes a T to the goal: always the same place and angle in a world of 512x512 pixels.

    Observations are those of Diffusion Policy's demonstrations: `image`, 96x96 pixels, as those were drawn; `state`,
    the disc's x and y, the T's x, y and angle in [0, 2 pi); `keypoint`, x and y of nine points of the T. Action: where
    the disc is to go, x and y in [0, 512], for a tenth of a second. The coverage is the best share of the goal under
    the T after any action, over the .95 that ends an episode, at most 1: the score of Chi et al. (2023), arXiv
    2303.04137.
    """

    sees = ("image", "state", "keypoint")
    measure = "coverage"
    max_frames = 300
    frames_per_second = 10
    packages = ("gym-pusht", "pymunk", "pygame", "pygame-ce", "opencv-python")
    low = np.zeros(2, np.float32)
    high = np.full(2, 512, np.float32)

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """observations: which of `sees`. Raises UserError where gym-pusht is missing."""
        super().__init__(observations)
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            from gym_pusht.envs.pusht import PushTEnv

            from . import push_t_drawing
        except ImportError:
            raise UserError("push-t needs an extra: pip install 'shortcut-models[push-t]'") from None
        self.world: Any = PushTEnv()
        self.drawing = push_t_drawing
        self._begin()

    def _begin(self) -> None:
        self.world._setup()
        self.frames, self.best = 0, 0.0

    def reset(self, seed: int) -> Observation:
        """Begin where Diffusion Policy begins with this seed; its evaluations have the seeds from 100000 on.

        It draws the T's angle after its place and turns the T about its centre of gravity, which moves it by up to 90
        pixels. What it reports was measured from there, so it is done here too.
        """
        self._begin()
        draw = np.random.RandomState(seed)  # its generator, or the places would be others
        places = [draw.randint(low, high) for low, high in ((50, 450), (50, 450), (100, 400), (100, 400))]
        self.world._set_state(np.array([*places, draw.randn() * 2 * np.pi - np.pi]))
        return self._observation()

    def reset_to(self, state: Float[np.ndarray, "5"]) -> Observation:
        """Begin, at rest, with the very state that is given, in the units of the observation `state`."""
        self._begin()
        agent_x, agent_y, block_x, block_y, angle = map(float, state)
        agent, block = self.world.agent, self.world.block
        agent.position = agent_x, agent_y
        block.angle = angle  # first: it turns the T about its centre of gravity, and moves the point that has the place
        block.position = block_x, block_y
        for body in (agent, block):
            self.world.space.reindex_shapes_for_body(body)
        return self._observation()

    def step(self, action: Float[np.ndarray, "n"]) -> tuple[Observation, bool]:
        """Steer for a tenth of a second. Raises UserError for an action that is not two finite numbers."""
        _, reward, reached, _, _ = self.world.step(self.bounded(action).astype(np.float64))
        self.frames, self.best = self.frames + 1, max(self.best, float(reward))
        return self._observation(), bool(reached) or self.frames >= self.max_frames

    def _observation(self) -> Observation:
        look = {
            "image": lambda: self.drawing.image(self.world),
            "state": lambda: self.world.get_obs().astype(np.float32),
            "keypoint": self._keypoints,
        }
        return {name: look[name]() for name in self.observations}

    def _keypoints(self) -> Float[np.ndarray, "18"]:
        cos, sin = np.cos(self.world.block.angle), np.sin(self.world.block.angle)
        turned = KEYPOINTS @ np.array([[cos, sin], [-sin, cos]])
        return (turned + np.array(self.world.block.position)).astype(np.float32).ravel()

    def score(self) -> float:
        """The best coverage so far, in [0, 1]."""
        return self.best

    def picture(self) -> UInt8[np.ndarray, "512 512 3"]:
        """The whole world, a pixel a unit."""
        return self.drawing.canvas(self.world)
