"""Gymnasium's CarRacing without drawing what is not visible. Importing this needs the extra `car-racing`."""

from typing import Any

import numpy as np
from gymnasium.envs.box2d import car_racing

GRASS = [
    [(x + side, y), (x, y), (x, y + side), (x + side, y + side)]
    for side in [car_racing.GRASS_DIM]
    for x in side * np.arange(-20, 20, 2)
    for y in side * np.arange(-20, 20, 2)
]
"""the lighter squares of the ground"""
WINDOW = np.array([car_racing.WINDOW_W, car_racing.WINDOW_H])
"""pixels of the picture that every image is scaled down from"""
BORDER = 4  # pixels, more than the border of a polygon extends beyond its corners


class Simulator(car_racing.CarRacing):
    """The simulator. Pixels, rewards and tracks equal those of CarRacing-v3 bit for bit."""

    def __init__(self, draws: bool) -> None:
        """Open it; `draws` says whether `step` and `reset` draw the image that they return."""
        super().__init__(lap_complete_percent=0.95, domain_randomize=False)
        self.draws = draws
        self._corners = np.empty((0, 4, 2))

    @property
    def half_width(self) -> float:
        """Metres from the middle of the road to its edge."""
        return car_racing.TRACK_WIDTH

    def reset(self, **options: Any) -> Any:
        """Start an episode on the track of a seed."""
        self._corners = np.empty((0, 4, 2))
        return super().reset(**options)

    def _render(self, mode: str) -> Any:
        return None if mode == "state_pixels" and not self.draws else super()._render(mode)

    def _render_road(self, zoom: float, translation: Any, angle: float) -> None:
        """Draw as the original does, but find all polygons outside the window at once and skip them."""
        ground = [(square, self.grass_color) for square in GRASS]
        if not len(self._corners):
            self._corners = np.array([corners for corners, _ in ground + self.road_poly])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        drawn = self._corners @ turn * zoom + np.array([translation[0], translation[1]])
        outside = (drawn.max(1) < -BORDER).any(1) | (drawn.min(1) > WINDOW + BORDER).any(1)
        side = car_racing.PLAYFIELD
        field = [(side, side), (side, -side), (-side, -side), (-side, side)]
        self._draw_colored_polygon(self.surf, field, self.bg_color, zoom, translation, angle, clip=False)
        for (corners, colour), hidden in zip(ground + self.road_poly, outside, strict=True):
            if not hidden:
                # The colours of tiles change as they are visited.
                self._draw_colored_polygon(self.surf, corners, [int(c) for c in colour], zoom, translation, angle)
