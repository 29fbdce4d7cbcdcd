"""Push-T of gym-pusht: a disc pushes a T onto its place on the plane."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError
from .base import Box, Observation, Reset, Simulated, Step, seed_or_random

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
"""Nine points of the T in its own coordinates, as in Diffusion Policy's demonstrations. They were computed from the
frames in which the T stands still, which they fit to 0.00003 pixels."""


class PushT(Simulated):
    """A disc, seen from above, pushes a T to a goal that never changes, in a world of 512x512 pixels.

    Observations are those of Diffusion Policy's demonstrations: `image`, 96x96 pixels, drawn as theirs; `state`, the
    disc's x and y, the T's x, y and angle in [0, 2 pi); `keypoint`, x and y of nine points of the T. Action: the target
    of the disc, x and y in [0, 512], for a tenth of a second. The coverage is the score of Chi et al. (2023), arXiv
    2303.04137: the largest fraction of the goal under the T after any action, divided by the .95 that ends an episode,
    at most 1.
    """

    observation_names = ("image", "state", "keypoint")
    metric_name = "coverage"
    max_episode_steps = 300
    render_fps = 10
    packages = ("gym-pusht", "pymunk", "pygame", "pygame-ce", "opencv-python")
    action_space = Box(np.zeros(2, np.float32), np.full(2, 512, np.float32))

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """Open the simulator."""
        super().__init__(observations)
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            from gym_pusht.envs.pusht import PushTEnv

            from . import push_t_drawing
        except ImportError:
            raise UserError("push-t needs an extra: pip install 'shortcut-models[push-t]'") from None
        self.simulator = PushTEnv()
        self.drawing = push_t_drawing
        self._start()

    def _start(self) -> None:
        super()._start()
        self.simulator._setup()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start where Diffusion Policy starts with this seed; its evaluations have the seeds from 100000 on.

        Its code sets the place of the T first and then turns it about its centre of gravity, which moves it by up to 90
        pixels. The published scores were measured from these starts.
        """
        self._start()
        random = np.random.RandomState(seed_or_random(seed))  # with another generator the places would differ
        places = [random.randint(low, high) for low, high in ((50, 450), (50, 450), (100, 400), (100, 400))]
        self.simulator._set_state(np.array([*places, random.randn() * 2 * np.pi - np.pi]))
        return self._observe(), {}

    def reset_to(self, state: Float[np.ndarray, "5"]) -> Reset:
        """Start, at rest, with exactly this state, in the units of the observation `state`."""
        self._start()
        agent_x, agent_y, block_x, block_y, angle = map(float, state)
        agent, block = self.simulator.agent, self.simulator.block
        agent.position = agent_x, agent_y
        # The angle comes first: it turns the T about its centre of gravity, which moves the point that is placed.
        block.angle = angle
        block.position = block_x, block_y
        for body in (agent, block):
            self.simulator.space.reindex_shapes_for_body(body)
        return self._observe(), {}

    def step(self, action: Float[np.ndarray, "n"]) -> Step:
        """Steer for a tenth of a second."""
        _, reward, reached, _, info = self.simulator.step(self.clip_action(action).astype(np.float64))
        self.score = max(self.score, float(reward))
        return self._step(self._observe(), reward, reached, info)

    def _observe(self) -> Observation:
        observers = {
            "image": lambda: self.drawing.image(self.simulator),
            "state": lambda: self.simulator.get_obs().astype(np.float32),
            "keypoint": self._keypoints,
        }
        return {name: observers[name]() for name in self.observations}

    def _keypoints(self) -> Float[np.ndarray, "18"]:
        block = self.simulator.block
        cos, sin = np.cos(block.angle), np.sin(block.angle)
        turned = KEYPOINTS @ np.array([[cos, sin], [-sin, cos]])
        return (turned + np.array(block.position)).astype(np.float32).ravel()

    def render(self) -> UInt8[np.ndarray, "512 512 3"]:
        """Return the whole world, one pixel per unit."""
        return self.drawing.canvas(self.simulator)
