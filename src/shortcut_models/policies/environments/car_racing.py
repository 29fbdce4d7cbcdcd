"""CarRacing-v3 of gymnasium: a lap on a track that is new in each episode."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError
from .base import Environment, Observation

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame's greeting would be printed among our results


class CarRacing(Environment):
    """A lap of a car that is seen from above, on a track that follows from the seed.

    Action: steering in [-1, 1] (left to right), gas in [0, 1], brake in [0, 1]. The return is 1000 x the share of the
    track's tiles that a wheel has touched, less 0.1 a frame. An episode ends with the last tile, after 1,000 frames, or
    where the car leaves the playing field: in that frame the return changes by -100, and by nothing else.
    """

    sees = ("image",)
    measure = "return"
    max_frames = 1000
    frames_per_second = 50
    packages = ("gymnasium", "box2d", "box2d-py", "pygame", "pygame-ce")
    low = np.array([-1, 0, 0], np.float32)
    high = np.array([1, 1, 1], np.float32)

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """observations: ("image",); without it nothing is drawn, and the simulation is many times as fast.

        Raises UserError where gymnasium or Box2D is missing.
        """
        super().__init__(observations)
        try:
            from .car_racing_world import World
        except ImportError:
            raise UserError("car-racing needs an extra: pip install 'shortcut-models[car-racing]'") from None
        self.world = World(draws=bool(self.observations))
        self.frames, self._return = 0, 0.0

    def reset(self, seed: int) -> Observation:
        """Begin an episode on the track of a seed; the car stands on its first tile."""
        image, _ = self.world.reset(seed=seed)
        self.frames, self._return = 0, 0.0
        return self._observation(image)

    def step(self, action: Float[np.ndarray, "n"]) -> tuple[Observation, bool]:
        """Act for one frame. Raises UserError for an action that is not three finite numbers."""
        image, reward, ended, _, _ = self.world.step(self.bounded(action))
        self.frames += 1
        self._return += float(reward)
        return self._observation(image), ended or self.frames >= self.max_frames

    def _observation(self, image: np.ndarray | None) -> Observation:
        return {} if image is None else {"image": image}

    def score(self) -> float:
        """The return so far."""
        return self._return

    def picture(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """400x600 pixels."""
        return self.world._render("rgb_array")

    def close(self) -> None:
        """Let go of the simulator."""
        self.world.close()
