"""The fastest speeds along a given line, and how the time depends on the line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

STRAIGHT = 1e-4
"""curvature (1/m) that is added to each, so that no radius is infinite"""
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
        self._bends: list[float] = (np.abs(curvature) + STRAIGHT).tolist()
        self._squares, self._why = self._passes(max(start, 0.5) ** 2)
        self.speeds = np.sqrt(self._squares)
        self._sums = self.speeds[:-1] + self.speeds[1:]
        self.times = np.append(0.0, np.cumsum(2 * gaps / self._sums))
        """seconds, at the points"""

    def _drive(self, square: float, bend: float) -> tuple[float, float]:
        """Acceleration, and the share of the grip that is used across; -1 where the engine is what limits it."""
        across = min(square * bend / self.limits.grip, 1)
        held, pushed = self.limits.drive * math.sqrt(1 - across**2), self.limits.power / math.sqrt(square)
        return (pushed, -1) if pushed < held else (held, across)

    def _passes(self, first: float) -> tuple[list[float], list[int]]:
        limits, bends, gaps = self.limits, self._bends, self.gaps.tolist()
        squares, why = [first], [FREE]
        for i, gap in enumerate(gaps):
            most = min(limits.grip / bends[i + 1], limits.top_speed**2)
            reached = squares[i] + 2 * self._drive(squares[i], bends[i])[0] * gap
            squares.append(min(most, reached))
            why.append(PUSHED if reached < most else FREE)
        for i in reversed(range(len(gaps))):
            across = min(squares[i + 1] * bends[i + 1] / limits.grip, 1)
            stopped = squares[i + 1] + 2 * limits.brake * math.sqrt(1 - across**2) * gaps[i]
            if stopped < squares[i]:
                squares[i], why[i] = stopped, BRAKED
        return squares, why

    def time_gradient(self) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "m"]]:
        """How the whole time changes with each curvature and each gap."""
        by_gap = 2 / self._sums
        by_sum = -2 * self.gaps / self._sums**2
        by_speed = np.append(by_sum, 0.0) + np.append(0.0, by_sum)
        by_square = (by_speed / (2 * self.speeds)).tolist()
        by_bend, more = [0.0] * len(by_square), [0.0] * len(self.gaps)
        self._back_through_braking(by_square, by_bend, more)
        self._back_through_driving(by_square, by_bend, more)
        return np.array(by_bend) * self._signs, by_gap + np.array(more)

    def _back_through_braking(self, by_square: list[float], by_bend: list[float], by_gap: list[float]) -> None:
        grip, brake = self.limits.grip, self.limits.brake
        for i, gap in enumerate(self.gaps.tolist()):
            if self._why[i] != BRAKED:
                continue
            square, bend = self._squares[i + 1], self._bends[i + 1]
            across = min(square * bend / grip, 1)
            along = math.sqrt(1 - across**2)
            slope = _slope(brake, across) * 2 * gap / grip
            by_square[i + 1] += by_square[i] * (1 + slope * bend)
            by_bend[i + 1] += by_square[i] * slope * square
            by_gap[i] += by_square[i] * 2 * brake * along

    def _back_through_driving(self, by_square: list[float], by_bend: list[float], by_gap: list[float]) -> None:
        grip, gaps = self.limits.grip, self.gaps.tolist()
        for i in range(len(by_square) - 1, 0, -1):
            if self._why[i] == FREE and self._squares[i] < self.limits.top_speed**2:
                by_bend[i] -= by_square[i] * grip / self._bends[i] ** 2
            elif self._why[i] == PUSHED:
                square, bend, gap = self._squares[i - 1], self._bends[i - 1], gaps[i - 1]
                acceleration, across = self._drive(square, bend)
                by_gap[i - 1] += by_square[i] * 2 * acceleration
                if across < 0:
                    by_square[i - 1] += by_square[i] * (1 - gap * acceleration / square)
                else:
                    slope = _slope(self.limits.drive, across) * 2 * gap / grip
                    by_square[i - 1] += by_square[i] * (1 + slope * bend)
                    by_bend[i - 1] += by_square[i] * slope * square


def _slope(most: float, across: float) -> float:
    """How what is left along the line falls with what is used across; finite, also where nothing is left."""
    return -most * across / max(math.sqrt(1 - across**2), 0.05)
