"""CarRacing-v3 of gymnasium: a lap on a track that is new in each episode."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError
from .base import Box, Observation, Reset, Simulated, Step, seed_or_random

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame would print its greeting among our results


class CarRacing(Simulated):
    """A lap of a car, seen from above, on a track that follows from the seed.

    Action: steering in [-1, 1] (left to right), gas in [0, 1], brake in [0, 1]. The return is 1000 x the fraction of
    the track's tiles that a wheel has touched, minus 0.1 per frame. An episode ends with the last tile, after 1,000
    frames, or when the car leaves the playing field: the reward of that frame is -100.
    """

    observation_names = ("image",)
    metric_name = "return"
    max_episode_steps = 1000
    render_fps = 50
    packages = ("gymnasium", "box2d", "box2d-py", "pygame", "pygame-ce")
    action_space = Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """Open the simulator; without the observation `image` nothing is drawn, which is many times faster."""
        super().__init__(observations)
        try:
            from .car_racing_simulator import Simulator
        except ImportError:
            raise UserError("car-racing needs an extra: pip install 'shortcut-models[car-racing]'") from None
        self.simulator = Simulator(draws=bool(self.observations))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode on the track of a seed, with the car on its first tile."""
        image, info = self.simulator.reset(seed=seed_or_random(seed))
        self._start()
        return self._observe(image), info

    def step(self, action: Float[np.ndarray, "n"]) -> Step:
        """Drive for one frame."""
        image, reward, terminated, _, info = self.simulator.step(self.clip_action(action))
        self.score += float(reward)
        return self._step(self._observe(image), reward, terminated, info)

    def _observe(self, image: np.ndarray | None) -> Observation:
        return {} if image is None else {"image": image}

    def render(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """Return a picture of 400x600 pixels."""
        return self.simulator._render("rgb_array")
