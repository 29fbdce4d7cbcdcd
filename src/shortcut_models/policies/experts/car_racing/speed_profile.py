"""The fastest speeds along a given line, and how the time depends on the line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

STRAIGHT = 1e-4
"""curvature (1/m) that is added to each, so that no radius is infinite"""
SLOWEST = 0.5
"""m/s, in place of a standstill, which would last for ever"""
FREE, PUSHED, BRAKED = range(3)
"""what sets the speed at a point: the point itself, the one before it, or the one after it"""


@dataclass(frozen=True)
class Limits:
    """What a car can do. Along the line and across it share the grip, as a circle (braking) or an ellipse (driving)."""

    grip: float
    """across, m/s^2; > 0"""
    brake: float
    """m/s^2; > 0"""
    drive: float
    """acceleration that the driven tyres hold, m/s^2; > 0"""
    power: float = math.inf
    """acceleration x speed, m^2/s^3; > 0"""
    top_speed: float = math.inf
    """m/s; > 0"""


class SpeedProfile:
    """Speeds at the points of a line, by a pass forwards and one backwards.

    Forwards, a speed is what the curve allows, or what can be reached from the point before; backwards, what can be
    braked from before the next. The passes are remembered: `time_gradient` goes back through them.
    """

    def __init__(
        self, curvature: Float[np.ndarray, "n"], gaps: Float[np.ndarray, "m"], limits: Limits, start: float
    ) -> None:
        """curvature: 1/m, at the points; gaps: m, between them, one fewer; start: speed at the first, m/s."""
        self.limits, self.gaps = limits, gaps
        self._signs = np.sign(curvature)
        self._bends = np.abs(curvature) + STRAIGHT
        squares, why = self._forwards(max(start, SLOWEST) ** 2)
        self._backwards(squares, why)
        self._squares, self._why = np.array(squares), np.array(why)
        self.speeds = np.sqrt(self._squares)
        self._sums = self.speeds[:-1] + self.speeds[1:]
        self.times = np.append(0.0, np.cumsum(2 * gaps / self._sums))
        """seconds, at the points"""

    def _forwards(self, square: float) -> tuple[list[float], list[int]]:
        """Squared speeds that the curve and the engine allow, and which of the two it is."""
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
        """Lower them to what can be braked from."""
        grip, brake = self.limits.grip, self.limits.brake
        bends, gaps = self._bends.tolist(), self.gaps.tolist()
        for i in reversed(range(len(gaps))):
            across = min(squares[i + 1] * bends[i + 1] / grip, 1.0)
            braked = squares[i + 1] + 2 * gaps[i] * brake * math.sqrt(1 - across**2)
            if braked < squares[i]:
                squares[i], why[i] = braked, BRAKED

    def time_gradient(self) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]:
        """How the whole time changes with each curvature and each gap."""
        by_sum = -2 * self.gaps / self._sums**2
        by_speed = np.append(by_sum, 0.0) + np.append(0.0, by_sum)
        by_square = (by_speed / (2 * self.speeds)).tolist()
        braked, pushed = self._why[:-1] == BRAKED, self._why[1:] == PUSHED
        braking = self._parts(self._squares[1:], self._bends[1:], self.limits.brake, math.inf)
        driving = self._parts(self._squares[:-1], self._bends[:-1], self.limits.drive, self.limits.power)
        from_next, from_last = braking[0].tolist(), driving[0].tolist()
        for i in np.flatnonzero(braked).tolist():  # the passes, backwards: first the one that came last
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
        """How the squared speed a gap further changes with that here, with the bend here, and with the gap.

        most: acceleration that the tyres hold where nothing is used across.
        """
        across = np.minimum(squares * bends / self.limits.grip, 1)
        along = np.sqrt(1 - across**2)
        # Where all of the grip is used the slope is infinite: a finite one is as good to a search.
        slope = -2 * self.gaps * most * across / np.maximum(along, 0.05) / self.limits.grip
        held, pushed = most * along, power / np.sqrt(squares)
        engine = pushed < held
        by_square = np.where(engine, 1 - self.gaps * pushed / squares, 1 + slope * bends)
        return by_square, np.where(engine, 0, slope * squares), 2 * np.minimum(held, pushed)
