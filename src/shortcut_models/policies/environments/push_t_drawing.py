"""Push-T drawn as in Diffusion Policy's demonstrations. Needs gym-pusht.

Their images were made with an older pygame, whose polygons and wide lines end at other pixels than those of the pygame
that gym-pusht requires: up to 53 of the 9,216 pixels of an image differ. So this file draws these two as the older
pygame did: a polygon row by row, with its edges truncated to whole pixels towards their upper ends; a wide line as thin
lines side by side.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pygame
from gym_pusht.envs.pymunk_override import DrawOptions, light_color, to_pygame
from jaxtyping import UInt8

CANVAS_SIZE = 512  # pixels along the canvas, and units along the world
OUTLINE = 2.0  # radius of the lines around the block, in pixels

Point = tuple[int, int]


def canvas(simulator: Any) -> UInt8[np.ndarray, "512 512 3"]:
    """Return a picture of gym-pusht's PushTEnv, RGB, rows from top to bottom."""
    surface = pygame.Surface((CANVAS_SIZE, CANVAS_SIZE))
    surface.fill((255, 255, 255))
    goal = simulator.get_goal_pose_body(simulator.goal_pose)
    for shape in simulator.block.shapes:
        corners = [to_pygame(goal.local_to_world(corner), surface) for corner in shape.get_vertices()]
        _polygon(surface, pygame.Color("LightGreen"), corners)
    simulator.space.debug_draw(_Drawing(surface))
    return pygame.surfarray.array3d(surface).transpose(1, 0, 2)


def image(simulator: Any, side: int = 96) -> UInt8[np.ndarray, "side side 3"]:
    """Return the image of the demonstrations: the canvas, scaled down with linear interpolation."""
    return cv2.resize(np.ascontiguousarray(canvas(simulator)), (side, side))


class _Drawing(DrawOptions):
    """Draw the shapes of the simulation, one call per shape."""

    def draw_polygon(self, verts: Sequence[Any], radius: float, outline_color: Any, fill_color: Any) -> None:
        _polygon(self.surface, light_color(fill_color).as_int(), [to_pygame(v, self.surface) for v in verts])
        for a, b in pairwise([*verts, verts[0]]):
            self.draw_fat_segment(a, b, OUTLINE, fill_color, fill_color)

    def draw_fat_segment(self, a: Any, b: Any, radius: float, outline_color: Any, fill_color: Any) -> None:
        start, end, colour = to_pygame(a, self.surface), to_pygame(b, self.surface), fill_color.as_int()
        _line(self.surface, colour, start, end, round(2 * radius))
        across = np.abs([end[1] - start[1], end[0] - start[0]])
        if across.any():
            x, y = (round(v * radius / float(np.hypot(*across))) for v in across)
            sides = [(start, -1), (start, 1), (end, 1), (end, -1)]
            _polygon(self.surface, colour, [(point[0] + sign * x, point[1] + sign * y) for point, sign in sides])
        for point in (start, end):
            pygame.draw.circle(self.surface, colour, point, round(radius))


def _line(surface: pygame.Surface, colour: Any, a: Point, b: Point, width: int) -> None:
    """Draw a line of an even width as thin ones, side by side along x where it is steep, else along y."""
    steep = abs(a[0] - b[0]) <= abs(a[1] - b[1])
    for shift in range(1 - width // 2, width // 2 + 1):
        x, y = (shift, 0) if steep else (0, shift)
        pygame.draw.line(surface, colour, (a[0] + x, a[1] + y), (b[0] + x, b[1] + y))


def _polygon(surface: pygame.Surface, colour: Any, corners: Sequence[Point]) -> None:
    """Fill between the edges that cross each row; an edge ends above its lower corner, except in the last row."""
    edges = [sorted(edge, key=lambda point: point[1]) for edge in pairwise([*corners, corners[0]])]
    top, bottom = min(y for _, y in corners), max(y for _, y in corners)
    for y in range(top, bottom + 1):
        crossed = sorted(
            x1 + int((y - y1) * (x2 - x1) / (y2 - y1))
            for (x1, y1), (x2, y2) in edges
            if y1 != y2 and (y1 <= y < y2 or y == y2 == bottom)
        )
        for left, right in zip(crossed[::2], crossed[1::2], strict=False):
            surface.fill(colour, (left, y, right - left + 1, 1))
    for (x1, y1), (x2, y2) in edges:
        if y1 == y2:
            surface.fill(colour, (min(x1, x2), y1, abs(x2 - x1) + 1, 1))
