"""The expert of CarRacing: it plans a line and the speeds on it, and steers, drives and brakes to keep to both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ...environments import CarRacing, Environment, Observation
from ..base import Expert
from . import car
from .car import CarState
from .off_road import pursue
from .racing_line import DENSITY, Line, Road, racing_line
from .speed_profile import Limits

BEYOND = 10
"""tiles that are planned beyond the lap, so that it ends as if the race went on"""
PREVIEW = 1.5
"""frames that steering and speed look ahead: the wheels need one to turn, and the car another to follow"""
URGE = 10.0
"""m/s^2 for each m/s that the car is too slow or too fast"""
OFF, ASKEW = 2.0, 0.4
"""metres from the line, and radians across it, at which the car goes at half of the planned speed"""
SLOW = 15.0
"""m/s that it keeps even so, to get back"""
LOST, TURNED = 12.0, 1.2
"""metres from the line, or radians across it, at which the plan is left for the way back to it"""
FOUND, STRAIGHT = 3.0, 0.5
"""and those at which it is taken up again"""
REJOIN = 8.0
"""metres along the line, from the point where it was left, at which the way back leads"""

NOISE = (0.05, 0.5, 0.05)
"""of steering, gas and brake"""
WRONG = (0.1, 0.3)
"""steering to either side, at least and at most, that a blunder holds"""


@dataclass(frozen=True)
class Style:
    """How near to its limits the car is driven. All shares are of what the simulator allows, and in (0, 1]."""

    grip: float = 0.8
    """across, of the tyres"""
    brake: float = 0.65
    """of the tyres"""
    drive: float = 0.9
    """of the driven tyres"""
    power: float = 0.95
    """of the engine"""
    margin: float = 2.5
    """m from the edge of the road to the middle of the car, whose wheels reach 1.4 m out; > 1.4"""
    roughness: float = 3.0
    """seconds, for squared changes of curvature: a higher one drives more smoothly; >= 0"""
    effort: float = 300.0
    """m^2/rad^2, the weight of a change of steering against distance from the line: a higher one steers more softly"""

    def limits(self) -> Limits:
        """In the units of the speed profile."""
        return Limits(
            self.grip * car.GRIP, self.brake * car.GRIP, self.drive * car.DRIVE, self.power * car.POWER, car.TOP_SPEED
        )


class Aim(NamedTuple):
    """What the car should do at a place of its line. Angles and turns are positive to the left."""

    x: float
    y: float
    heading: float
    speed: float
    acceleration: float
    drift: float
    turn: float
    steering: float


class Plan:
    """A line, and all that the car should do on it."""

    def __init__(self, line: Line) -> None:
        speeds, self.distance = line.profile.speeds, line.distance
        along = np.gradient(line.points, self.distance, axis=0)
        pushes = np.diff(speeds**2) / (2 * np.diff(self.distance))
        drift, steering = car.steady_steering(speeds, line.curvature, line.profile.times)
        self.line = line
        self._table = np.stack(
            [
                *line.points.T,
                np.unwrap(np.arctan2(along[:, 1], along[:, 0])),
                speeds,
                np.append(pushes, pushes[-1]),
                drift,
                speeds * line.curvature,
                steering,
            ]
        )

    def at(self, distance: float) -> Aim:
        """The aim where so many metres have been driven."""
        return Aim(*(float(np.interp(distance, self.distance, values)) for values in self._table))

    def nearest(self, position: Float[np.ndarray, "2"], last: int) -> int:
        """The point of the line that is nearest, among those that a frame or two can lead to from the last one."""
        first = max(last - 3, 0)
        return first + int(((self.line.points[first : last + 12] - position) ** 2).sum(1).argmin())


class CarRacingExpert(Expert):
    """Drives a lap by a plan that it makes at the beginning, in half a second."""

    def __init__(self, style: Style = Style()) -> None:
        self.style = style
        self._speeds, self._gains = car.steering_gains(style.effort)

    def begin(self, environment: Environment) -> None:
        """Plan the lap. The environment must be that of CarRacing."""
        assert isinstance(environment, CarRacing)
        self._car, track = environment.world.car, environment.world.track
        self._road = Road.of(track, environment.world.half_width)
        self._plan_from(0, 0.0, 0.0)

    def noise(self, environment: Environment) -> Float[np.ndarray, "3"]:
        """NOISE: the brake bites hard, and at speed a little steering goes a long way."""
        return np.array(NOISE, np.float32)

    def blunder(self, environment: Environment, random: np.random.Generator) -> Float[np.ndarray, "3"]:
        """To either side, with any gas: the car leaves the road, or nearly."""
        return np.array([random.choice([-1, 1]) * random.uniform(*WRONG), random.uniform(), 0.0])

    def _plan_from(self, tile: int, offset: float, speed: float) -> None:
        style, road = self.style, self._road.lap(tile, BEYOND)
        self.plan = Plan(racing_line(road, style.limits(), style.margin, style.roughness, offset, speed))
        self._tile, self._nearest, self._lost = tile, 0, False

    def act(self, observation: Observation) -> Float[np.ndarray, "3"]:
        """Steering, gas and brake. Nothing of the observation is used."""
        state = CarState.read(self._car)
        self._nearest = self.plan.nearest(state.position, self._nearest)
        if self._nearest >= len(self.plan.distance) - DENSITY:  # a tile was missed: another lap
            tile = (self._tile + self._nearest // DENSITY) % len(self._road.middle)
            self._plan_from(tile, float(self.plan.line.offsets[-1]), state.speed)
        driven, errors = self._compare(state)
        away, askew = math.dist(self.plan.line.points[self._nearest], state.position), abs(errors[2])
        most, turned = (FOUND, STRAIGHT) if self._lost else (LOST, TURNED)
        self._lost = bool(away > most or askew > turned)
        if self._lost:
            aim = self.plan.at(float(self.plan.distance[self._nearest]) + REJOIN)
            steering, gas, brake = pursue(state, aim.x, aim.y)
        else:
            steering, (gas, brake) = self._steer(state, driven, errors), self._push(state, driven, errors)
        return np.array([-steering, gas, brake], np.float32)

    def takes_over(self) -> bool:
        """While the car is lost."""
        return self._lost

    def _compare(self, state: CarState) -> tuple[float, Float[np.ndarray, "5"]]:
        """Metres driven, and by how much offset, drift, heading, turn and steering differ from the aim there."""
        driven = float(self.plan.distance[self._nearest])
        point = self.plan.at(driven)
        away = state.position - (point.x, point.y)
        driven += away[0] * math.cos(point.heading) + away[1] * math.sin(point.heading)
        aim = self.plan.at(driven)
        away = state.position - (aim.x, aim.y)
        left = away[1] * math.cos(aim.heading) - away[0] * math.sin(aim.heading)
        askew = math.remainder(state.heading - aim.heading, 2 * math.pi) + aim.drift / max(aim.speed, 5)
        errors = [left, state.drift - aim.drift, askew, state.turn - aim.turn, state.steering - aim.steering]
        return driven, np.array(errors)

    def _steer(self, state: CarState, driven: float, errors: Float[np.ndarray, "5"]) -> float:
        """The angle of the front wheels: that of the plan, a little ahead, less the feedback."""
        speed = max(state.speed, 1)
        ahead = self.plan.at(driven + PREVIEW * speed * car.FRAME).steering
        gains = np.array([np.interp(speed, self._speeds, gain) for gain in self._gains.T])
        near = np.append(np.clip(errors[0], -OFF, OFF), errors[1:])  # from far away, not straight towards the line
        return float(np.clip(ahead - gains @ near, -car.LOCK, car.LOCK))

    def _push(self, state: CarState, driven: float, errors: Float[np.ndarray, "5"]) -> tuple[float, float]:
        """Gas and brake, for the speed and the acceleration of the plan, and slower where the car is off its line."""
        aim = self.plan.at(driven + 0.5 + PREVIEW * state.speed * car.FRAME)
        lost = (errors[0] / OFF) ** 4 + (errors[2] / ASKEW) ** 4
        speed = max(aim.speed / (1 + lost), min(aim.speed, SLOW))
        wanted = aim.acceleration / (1 + lost) + URGE * (speed - state.speed)
        return (car.gas_for(wanted, state), 0.0) if wanted > 0 else (0.0, car.brake_for(-wanted, state))
