"""How the expert of CarRacing drives where its plan does not help: on the grass, or the wrong way round."""

import math

from . import car
from .car import CarState

GRASS = 0.6  # fraction of their force that tyres have on grass
WHEELBASE = car.FRONT + car.REAR
MAX_CURVATURE = math.tan(car.LOCK) / WHEELBASE  # 1/m, of the tightest circle that the car can drive
MIN_DISTANCE = 3.0  # metres; a nearer point is steered to as if it were this far
ARRIVAL_SPEED, ARRIVAL_BRAKE = 30.0, 20.0
"""m/s at which a point is reached, and m/s^2 with which the car slows down to it"""
TOP_SPEED = 45.0  # m/s
SPEED_GAIN = 5.0  # m/s^2 for each m/s that the car is too slow or too fast
COUNTERSTEER = 0.8  # fraction of a slide's angle that the wheels turn into it


def pursue(state: CarState, x: float, y: float) -> tuple[float, float, float]:
    """Steer towards a point.

    This is pure pursuit (Coulter 1992, CMU-RI-TR-92-01): the car follows the arc that starts in its direction and goes
    through the point. It turns to a point behind it as tightly as it can, and steers into a slide. Its speed is limited
    so that half of the tyres' force on grass keeps it on the arc. It circles around a point inside the tightest circle.
    Return the angle of the front wheels, positive to the left; gas; brake.
    """
    right, up = x - state.position[0], y - state.position[1]
    forward, side = math.cos(state.heading), math.sin(state.heading)
    ahead, left = right * forward + up * side, up * forward - right * side
    distance = max(math.hypot(ahead, left), MIN_DISTANCE)
    curvature = 2 * left / distance**2 if ahead > 0 else math.copysign(MAX_CURVATURE, left)
    curvature = min(max(curvature, -MAX_CURVATURE), MAX_CURVATURE)
    slide = math.atan2(state.drift, max(abs(state.speed), 5))
    steering = math.atan(WHEELBASE * curvature) + COUNTERSTEER * slide
    hold = 0.5 * GRASS * car.GRIP
    in_time = math.sqrt(ARRIVAL_SPEED**2 + 2 * ARRIVAL_BRAKE * distance)
    speed = min(math.sqrt(hold / max(abs(curvature), 1e-3)), in_time, TOP_SPEED)
    wanted = SPEED_GAIN * (speed - state.speed)
    gas = car.gas_for(min(wanted, GRASS * car.DRIVE), state) if wanted > 0 else 0.0
    brake = car.brake_for(min(-wanted, hold), state) if wanted <= 0 else 0.0
    return min(max(steering, -car.LOCK), car.LOCK), gas, brake
