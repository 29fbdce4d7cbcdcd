"""How the expert of CarRacing drives where its plan is of no use: on the grass, or the wrong way round."""

from __future__ import annotations

import math

from . import car
from .car import CarState

GRASS = 0.6
"""share of their hold that tyres have on grass"""
WHEELBASE = car.FRONT + car.REAR
TIGHTEST = math.tan(car.LOCK) / WHEELBASE
"""1/m, the most that the car can turn"""
NEAR = 3.0
"""metres to a point, below which it is steered to no more sharply"""
ARRIVAL, EASE = 30.0, 20.0
"""m/s at which a point is reached, and m/s^2 at which the car becomes so slow"""
TOP = 45.0
"""m/s"""
URGE = 5.0
"""m/s^2 for each m/s that the car is too slow or too fast"""
CAUGHT = 0.8
"""share of the angle of a slide that the wheels follow"""


def pursue(state: CarState, x: float, y: float) -> tuple[float, float, float]:
    """Steer towards a point -> angle of the front wheels, positive to the left, gas and brake.

    Pure pursuit (Coulter 1992, CMU-RI-TR-92-01): the arc through the point that begins where the car points to. A
    point behind it is turned to as tightly as the car can, and a slide is caught. It is no faster than lets half of
    what tyres hold on grass keep it on that arc. A point that lies inside the tightest circle is gone round.
    """
    ahead, left = _seen_from(state, x, y)
    away = max(math.hypot(ahead, left), NEAR)
    curvature = 2 * left / away**2 if ahead > 0 else math.copysign(TIGHTEST, left)
    curvature = min(max(curvature, -TIGHTEST), TIGHTEST)
    slide = math.atan2(state.drift, max(abs(state.speed), 5))
    steering = math.atan(WHEELBASE * curvature) + CAUGHT * slide
    hold = 0.5 * GRASS * car.GRIP
    speed = min(math.sqrt(hold / max(abs(curvature), 1e-3)), math.sqrt(ARRIVAL**2 + 2 * EASE * away), TOP)
    wanted = URGE * (speed - state.speed)
    gas = car.gas_for(min(wanted, GRASS * car.DRIVE), state) if wanted > 0 else 0.0
    brake = car.brake_for(min(-wanted, hold), state) if wanted <= 0 else 0.0
    return min(max(steering, -car.LOCK), car.LOCK), gas, brake


def _seen_from(state: CarState, x: float, y: float) -> tuple[float, float]:
    """Metres ahead of the car, and to its left, at which a point is."""
    x, y = x - state.position[0], y - state.position[1]
    forward, side = math.cos(state.heading), math.sin(state.heading)
    return x * forward + y * side, y * forward - x * side
