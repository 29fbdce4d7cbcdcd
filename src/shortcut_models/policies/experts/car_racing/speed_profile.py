"""The fastest speeds along a given line, and how the time depends on the line."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MIN_CURVATURE = 1e-4  # 1/m, added to each curvature, so that no radius is infinite
MIN_SPEED = 0.5  # m/s, in place of 0, with which no gap would ever end
FREE, PUSHED, BRAKED = range(3)
"""what limits the speed at a point: its curve, the acceleration before it, or the braking after it"""


@dataclass(frozen=True)
class Limits:
    """The limits of a car. Forces along and across the line share the grip: a circle (braking) or ellipse (driving)."""

    grip: float  # across, m/s^2; > 0
    brake: float  # m/s^2; > 0
    drive: float  # acceleration that the driven tyres hold, m/s^2; > 0
    power: float = math.inf  # acceleration x speed, m^2/s^3; > 0
    top_speed: float = math.inf  # m/s; > 0


class SpeedProfile:
    """The fastest speeds at the points of a line, from a forward and a backward pass.

    The forward pass limits a speed by the curve and by the acceleration from the point before; the backward pass by the
    braking to the next point. `time_gradient` differentiates both passes.
    """

    def __init__(
        self, curvature: Float[np.ndarray, "n"], gaps: Float[np.ndarray, "m"], limits: Limits, start: float
    ) -> None:
        """Compute it from the curvature at the points, 1/m, the gaps between them, m, and the first speed, m/s."""
        self.limits, self.gaps = limits, gaps
        self._signs = np.sign(curvature)
        self._bends = np.abs(curvature) + MIN_CURVATURE
        squares, why = self._forwards(max(start, MIN_SPEED) ** 2)
        self._backwards(squares, why)
        self._squares, self._why = np.array(squares), np.array(why)
        self.speeds = np.sqrt(self._squares)
        self._sums = self.speeds[:-1] + self.speeds[1:]
        self.times = np.append(0.0, np.cumsum(2 * gaps / self._sums))
        """seconds, at the points"""

    def _forwards(self, square: float) -> tuple[list[float], list[int]]:
        """Return the squared speeds that the curve and the engine allow, and which of the two limits each."""
        grip, drive, power = self.limits.grip, self.limits.drive, self.limits.power
        most = np.minimum(grip / self._bends, self.limits.top_speed**2).tolist()
        squares, why = [square], [FREE]
        for i, (gap, bend) in enumerate(zip(self.gaps.tolist(), self._bends.tolist(), strict=False)):
            across = min(square * bend / grip, 1.0)
            pushed = square + 2 * gap * min(drive * math.sqrt(1 - across**2), power / math.sqrt(square))
            square = min(pushed, most[i + 1])
            squares.append(square)
            why.append(PUSHED if pushed < most[i + 1] else FREE)
        return squares, why

    def _backwards(self, squares: list[float], why: list[int]) -> None:
        """Lower the speeds to those that the car can brake from in time."""
        grip, brake = self.limits.grip, self.limits.brake
        bends, gaps = self._bends.tolist(), self.gaps.tolist()
        for i in reversed(range(len(gaps))):
            across = min(squares[i + 1] * bends[i + 1] / grip, 1.0)
            braked = squares[i + 1] + 2 * gaps[i] * brake * math.sqrt(1 - across**2)
            if braked < squares[i]:
                squares[i], why[i] = braked, BRAKED

    def time_gradient(self) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]:
        """Return the derivatives of the total time by each curvature and each gap."""
        by_sum = -2 * self.gaps / self._sums**2
        by_speed = np.append(by_sum, 0.0) + np.append(0.0, by_sum)
        by_square = (by_speed / (2 * self.speeds)).tolist()
        braked, pushed = self._why[:-1] == BRAKED, self._why[1:] == PUSHED
        braking = self._parts(self._squares[1:], self._bends[1:], self.limits.brake, math.inf)
        driving = self._parts(self._squares[:-1], self._bends[:-1], self.limits.drive, self.limits.power)
        from_next, from_last = braking[0].tolist(), driving[0].tolist()
        for i in np.flatnonzero(braked).tolist():  # reverse mode: first the pass that came last
            by_square[i + 1] += by_square[i] * from_next[i]
        for i in reversed(np.flatnonzero(pushed).tolist()):
            by_square[i] += by_square[i + 1] * from_last[i]
        changes = np.array(by_square)
        after_braking, after_driving = changes[:-1] * braked, changes[1:] * pushed
        free = (self._why == FREE) & (self._squares < self.limits.top_speed**2)
        free[0] = False
        by_bend = -changes * free * self.limits.grip / self._bends**2
        by_bend[1:] += after_braking * braking[1]
        by_bend[:-1] += after_driving * driving[1]
        by_gap = 2 / self._sums + after_braking * braking[2] + after_driving * driving[2]
        return by_bend * self._signs, by_gap

    def _parts(
        self, squares: Float[np.ndarray, "m"], bends: Float[np.ndarray, "m"], most: float, power: float
    ) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
        """Return the derivatives of the squared speed a gap ahead by the squared speed, the curvature and the gap here.

        `most` is the acceleration that the tyres allow on a straight line, and `power` that of the engine times speed.
        """
        across = np.minimum(squares * bends / self.limits.grip, 1)
        along = np.sqrt(1 - across**2)
        # Where the curve uses all of the grip, the slope is infinite: any large one serves the search.
        slope = -2 * self.gaps * most * across / np.maximum(along, 0.05) / self.limits.grip
        held, pushed = most * along, power / np.sqrt(squares)
        engine = pushed < held
        by_square = np.where(engine, 1 - self.gaps * pushed / squares, 1 + slope * bends)
        return by_square, np.where(engine, 0, slope * squares), 2 * np.minimum(held, pushed)
