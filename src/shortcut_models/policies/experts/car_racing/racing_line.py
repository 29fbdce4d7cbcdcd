"""The fastest line along a road."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize

from .speed_profile import Limits, SpeedProfile

DENSITY = 2  # points of the line per point of the road
PASSES = ((4, 60), (2, 60), (1, 120))
"""(spacing, iterations) of the search, from coarse to fine; the spacing of the knots is in points of the road"""


@dataclass(frozen=True)
class Road:
    """A road: points along its middle, and its width."""

    middle: Float[np.ndarray, "k 2"]  # m; a closed loop without its first point repeated
    right: Float[np.ndarray, "k 2"]  # unit vectors across it, to the right
    half_width: float  # m

    @classmethod
    def of(cls, track: Sequence[tuple[float, float, float, float]], half_width: float) -> "Road":
        """Return the road of gymnasium's `CarRacing.track`."""
        _, angle, x, y = np.array(track).T
        return cls(np.stack([x, y], 1), np.stack([np.cos(angle), np.sin(angle)], 1), half_width)

    def lap(self, first: int, beyond: int) -> "Road":
        """Return the road from one of its points once around, and `beyond` points further."""
        rows = (first + np.arange(len(self.middle) + beyond)) % len(self.middle)
        return Road(self.middle[rows], self.right[rows], self.half_width)


@dataclass(frozen=True)
class Line:
    """A line along a road, at points about 1.75 m apart."""

    points: Float[np.ndarray, "n 2"]
    offsets: Float[np.ndarray, "n"]  # from the middle of the road, m, positive to the right
    distance: Float[np.ndarray, "n"]  # m along the line
    curvature: Float[np.ndarray, "n"]  # 1/m, positive to the left
    profile: SpeedProfile


def racing_line(road: Road, limits: Limits, margin: float, roughness: float, offset: float, speed: float) -> Line:
    """Return the fastest line from the first point of a road to its last.

    It minimises the time of the speed profile + roughness x the squared changes of curvature over the offsets from the
    middle, with the exact gradient (L-BFGS-B), first with few knots and then with more. Roughness, in seconds, is there
    as the front wheels need time to turn. The line keeps `margin` metres from the edge. It starts parallel to the road,
    `offset` metres to the right of the middle, at `speed` in m/s.
    """
    count, room = len(road.middle), road.half_width - margin
    fine = np.linspace(0, count - 1, DENSITY * (count - 1) + 1)
    middle, right = (CubicSpline(np.arange(count), each)(fine) for each in (road.middle, road.right))
    right /= np.linalg.norm(right, axis=1, keepdims=True)

    def cost(offsets: Float[np.ndarray, "k"], bends: Float[np.ndarray, "n k"]) -> tuple[float, Float[np.ndarray, "k"]]:
        shape = _Shape(middle + (bends @ offsets)[:, None] * right)
        profile = SpeedProfile(shape.curvature, shape.gaps, limits, speed)
        by_curvature, by_gap = profile.time_gradient()
        changes = np.diff(shape.curvature)
        by_curvature += 2 * roughness * (np.append(0, changes) - np.append(changes, 0))
        by_point = shape.gradient(by_curvature, by_gap)
        return float(profile.times[-1]) + roughness * (changes**2).sum(), bends.T @ (by_point * right).sum(1)

    knots, offsets = np.array([0.0, count - 1]), np.array([offset, 0.0])
    for every, iterations in PASSES:
        finer = np.append(np.arange(0, count - 1 - every / 2, every), count - 1)
        offsets = np.clip(CubicSpline(knots, offsets)(finer), -room, room)
        knots, offsets[0] = finer, offset
        none = np.zeros(len(knots))
        bends = CubicSpline(knots, np.eye(len(knots)), bc_type=((1, none), (2, none)))(fine)
        bounds = [(offset, offset)] + [(-room, room)] * (len(knots) - 1)
        options = {"maxiter": iterations, "maxcor": 20}
        offsets = minimize(cost, offsets, (bends,), "L-BFGS-B", jac=True, bounds=bounds, options=options).x
    shape = _Shape(middle + (bends @ offsets)[:, None] * right)
    profile = SpeedProfile(shape.curvature, shape.gaps, limits, speed)
    return Line(shape.points, bends @ offsets, np.append(0.0, np.cumsum(shape.gaps)), shape.curvature, profile)


class _Shape:
    """Gaps and curvature of a row of points, and their derivatives by the points."""

    def __init__(self, points: Float[np.ndarray, "n 2"]) -> None:
        self.points = points
        self._steps = np.diff(points, axis=0)
        self.gaps = np.linalg.norm(self._steps, axis=1)
        here, there = self._steps[:-1], self._steps[1:]
        cross = here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]
        self._spans = self.gaps[:-1] + self.gaps[1:]
        self.curvature = np.zeros(len(points))
        self.curvature[1:-1] = 2 * np.arctan2(cross, (here * there).sum(1)) / self._spans

    def gradient(
        self, by_curvature: Float[np.ndarray, "n"], by_gap: Float[np.ndarray, "m"]
    ) -> Float[np.ndarray, "n 2"]:
        """Return the derivatives of a number by the points from those by curvature and gaps."""
        by_angle = 2 * by_curvature[1:-1] / self._spans
        by_span = -by_curvature[1:-1] * self.curvature[1:-1] / self._spans
        by_gap = by_gap + np.append(by_span, 0) + np.append(0, by_span)
        by_heading = np.append(0, by_angle) - np.append(by_angle, 0)
        left = np.stack([-self._steps[:, 1], self._steps[:, 0]], 1)
        by_step = self._steps * (by_gap / self.gaps)[:, None] + left * (by_heading / self.gaps**2)[:, None]
        ends = np.zeros((1, 2))
        return np.concatenate([ends, by_step]) - np.concatenate([by_step, ends])
