"""The expert of CarRacing: plans a line and the speeds on it, and steers, drives and brakes to follow both."""

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

TILES_BEYOND = 10  # tiles that are planned beyond the lap, so that the lap ends at full speed
PREVIEW = 1.5
"""frames that steering and speed look ahead: the wheels need one to turn, and the car another one to follow"""
SPEED_GAIN = 10.0  # m/s^2 for each m/s that the car is too slow or too fast
SLOW_OFFSET, SLOW_ANGLE = 2.0, 0.4
"""metres from the line, and radians to it, at which the car drives at half of the planned speed"""
MIN_SPEED = 15.0  # m/s that it keeps even then, to get back
LOST_OFFSET, LOST_ANGLE = 12.0, 1.2
"""metres from the line, or radians to it, beyond which the car leaves the plan to drive back to it"""
FOUND_OFFSET, FOUND_ANGLE = 3.0, 0.5  # metres and radians below which it follows the plan again
REJOIN = 8.0  # metres along the line from the nearest point to the one that a lost car drives to

NOISE = (0.05, 0.5, 0.05)  # standard deviations of steering, gas and brake at `--noise 1`
PERTURBED_STEERING = (0.1, 0.3)  # least and most steering, to either side, of a perturbation


@dataclass(frozen=True)
class Style:
    """How close to its limits the car is driven, as fractions in (0, 1] of what the simulator allows."""

    grip: float = 0.8  # of the tyres' sideways force
    brake: float = 0.65  # of the tyres' braking force
    drive: float = 0.9  # of the driven tyres' force
    power: float = 0.95  # of the engine's power
    margin: float = 2.5  # m from the edge of the road to the middle of the car, whose wheels reach out 1.4 m; > 1.4
    roughness: float = 3.0  # seconds per squared change of curvature: higher values drive more smoothly; >= 0
    effort: float = 300.0
    """m^2/rad^2, weight of changes of steering against distance from the line: higher values steer more softly"""

    def limits(self) -> Limits:
        """Return the limits in the units of the speed profile."""
        grip, brake = self.grip * car.GRIP, self.brake * car.GRIP
        return Limits(grip, brake, self.drive * car.DRIVE, self.power * car.POWER, car.TOP_SPEED)


class Aim(NamedTuple):
    """What the car should do at a point of its line. Angles and turns are positive to the left."""

    x: float
    y: float
    heading: float
    speed: float
    acceleration: float
    drift: float
    turn: float
    steering: float


class Plan:
    """A line, and what the car should do at each of its points."""

    def __init__(self, line: Line) -> None:
        speeds, self.distance = line.profile.speeds, line.distance
        along = np.gradient(line.points, self.distance, axis=0)
        pushes = np.diff(speeds**2) / (2 * np.diff(self.distance))
        drift, steering = car.steady_steering(speeds, line.curvature, line.profile.times)
        self.line = line
        heading = np.unwrap(np.arctan2(along[:, 1], along[:, 0]))
        turn, pushes = speeds * line.curvature, np.append(pushes, pushes[-1])
        self._table = [*line.points.T, heading, speeds, pushes, drift, turn, steering]
        """the values of an `Aim` at each point"""

    def at(self, distance: float) -> Aim:
        """Return the aim at a distance along the line, in metres."""
        return Aim(*(float(np.interp(distance, self.distance, values)) for values in self._table))

    def nearest(self, position: Float[np.ndarray, "2"], last: int) -> int:
        """Return the nearest point of the line among those within reach of the last one."""
        first = max(last - 3, 0)
        return first + int(((self.line.points[first : last + 12] - position) ** 2).sum(1).argmin())


class CarRacingExpert(Expert):
    """Drives a lap by a plan that it makes at the start, in half a second."""

    def __init__(self, style: Style = Style()) -> None:
        self.style = style
        self._speeds, self._gains = car.steering_gains(style.effort)

    def begin(self, environment: Environment) -> None:
        """Plan the lap; the environment must be CarRacing."""
        assert isinstance(environment, CarRacing)
        self._car, track = environment.simulator.car, environment.simulator.track
        self._road = Road.of(track, environment.simulator.half_width)
        self._plan_from(0, 0.0, 0.0)

    def noise(self, environment: Environment) -> Float[np.ndarray, "3"]:
        """Return NOISE: the brake is strong, and at speed a little steering has a large effect."""
        return np.array(NOISE, np.float32)

    def perturbation(self, environment: Environment, random: np.random.Generator) -> Float[np.ndarray, "3"]:
        """Return steering to either side with any gas: the car leaves the road, or almost."""
        return np.array([random.choice([-1, 1]) * random.uniform(*PERTURBED_STEERING), random.uniform(), 0.0])

    def _plan_from(self, tile: int, offset: float, speed: float) -> None:
        style, road = self.style, self._road.lap(tile, TILES_BEYOND)
        self.plan = Plan(racing_line(road, style.limits(), style.margin, style.roughness, offset, speed))
        self._tile, self._nearest, self._lost = tile, 0, False

    def act(self, observation: Observation) -> Float[np.ndarray, "3"]:
        """Return steering, gas and brake; the observation is not used."""
        state = CarState.read(self._car)
        self._nearest = self.plan.nearest(state.position, self._nearest)
        if self._nearest >= len(self.plan.distance) - DENSITY:  # a tile was missed: drive another lap
            tile = (self._tile + self._nearest // DENSITY) % len(self._road.middle)
            self._plan_from(tile, float(self.plan.line.offsets[-1]), state.speed)
        driven, errors = self._compare(state)
        offset, angle = math.dist(self.plan.line.points[self._nearest], state.position), abs(errors[2])
        max_offset, max_angle = (FOUND_OFFSET, FOUND_ANGLE) if self._lost else (LOST_OFFSET, LOST_ANGLE)
        self._lost = bool(offset > max_offset or angle > max_angle)
        if self._lost:
            aim = self.plan.at(float(self.plan.distance[self._nearest]) + REJOIN)
            steering, gas, brake = pursue(state, aim.x, aim.y)
        else:
            steering, (gas, brake) = self._steer(state, driven, errors), self._push(state, driven, errors)
        return np.array([-steering, gas, brake], np.float32)

    def takes_over(self) -> bool:
        """Return whether the car is lost."""
        return self._lost

    def _compare(self, state: CarState) -> tuple[float, Float[np.ndarray, "5"]]:
        """Return the distance along the line, and the errors of offset, drift, heading, turn and steering there."""
        driven = float(self.plan.distance[self._nearest])
        point = self.plan.at(driven)
        away = state.position - (point.x, point.y)
        driven += away[0] * math.cos(point.heading) + away[1] * math.sin(point.heading)
        aim = self.plan.at(driven)
        away = state.position - (aim.x, aim.y)
        left = away[1] * math.cos(aim.heading) - away[0] * math.sin(aim.heading)
        angle = math.remainder(state.heading - aim.heading, 2 * math.pi) + aim.drift / max(aim.speed, 5)
        errors = [left, state.drift - aim.drift, angle, state.turn - aim.turn, state.steering - aim.steering]
        return driven, np.array(errors)

    def _steer(self, state: CarState, driven: float, errors: Float[np.ndarray, "5"]) -> float:
        """Return the angle of the front wheels: that of the plan, slightly ahead, minus the feedback."""
        speed = max(state.speed, 1)
        ahead = self.plan.at(driven + PREVIEW * speed * car.FRAME).steering
        gains = np.array([np.interp(speed, self._speeds, gain) for gain in self._gains.T])
        # Clipped, so that a car far away does not drive straight towards the line.
        near = np.append(np.clip(errors[0], -SLOW_OFFSET, SLOW_OFFSET), errors[1:])
        return float(np.clip(ahead - gains @ near, -car.LOCK, car.LOCK))

    def _push(self, state: CarState, driven: float, errors: Float[np.ndarray, "5"]) -> tuple[float, float]:
        """Return gas and brake for the plan's speed and acceleration, reduced where the car is off its line."""
        aim = self.plan.at(driven + 0.5 + PREVIEW * state.speed * car.FRAME)
        deviation = (errors[0] / SLOW_OFFSET) ** 4 + (errors[2] / SLOW_ANGLE) ** 4
        speed = max(aim.speed / (1 + deviation), min(aim.speed, MIN_SPEED))
        wanted = aim.acceleration / (1 + deviation) + SPEED_GAIN * (speed - state.speed)
        return (car.gas_for(wanted, state), 0.0) if wanted > 0 else (0.0, car.brake_for(-wanted, state))
