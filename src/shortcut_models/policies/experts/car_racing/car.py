"""A model of the car of gymnasium's CarRacing: mass, tyres, engine and steering.

The simulator's code has these rules: a tyre's force grows with its slip, the speed at which it slides over the road in
any direction, up to a limit. The four wheels have the inertia of three times the car's mass.
Lengths are metres, times seconds, forces newtons.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import expm, solve_discrete_are

FRAME = 0.02  # seconds
MASS = 7.302  # of hull and wheels
INERTIA = 19.17  # of hull and wheels, about the centre of mass
FRONT, REAR = 1.68, 1.56  # from the centre of mass to the axles
STIFFNESS = 82.0  # force of a tyre for 1 m/s of slip
HOLD = 400.0  # largest force of a tyre on the road
RADIUS, SPIN = 0.54, 1.6  # of a wheel: its radius and its moment of inertia
ENGINE = 40000.0  # watts on each of the two rear wheels at full gas
IDLE = 5.0  # rad/s that the simulator adds to a wheel's speed before it divides the power by it
BRAKE = 15.0  # rad/s that a full brake takes from a wheel in a frame; from BLOCK on, the wheel stands still
BLOCK = 0.9
LOCK = 0.4  # radians that the front wheels turn at most; a larger steering action turns them no further
TOP_SPEED = 99.9  # m/s; Box2D limits movement to 2 m in a step

MIN_BRAKE_SHARE = 0.5
"""fraction of a tyre's force that a brake may always use: a car that is too fast to turn must slow down first"""

ROLLING = SPIN / RADIUS**2  # mass that a wheel's spin adds to the car
GRIP = 4 * HOLD / MASS  # m/s^2 of four tyres at their limit, sideways or braking
DRIVE = 2 * HOLD / (MASS + 2 * ROLLING)  # m/s^2 of two driven tyres at their limit, which also spin the front wheels
POWER = 2 * ENGINE / (MASS + 4 * ROLLING)  # acceleration x speed at full gas


class CarState(NamedTuple):
    """Position and motion of the car. Angles and turns are positive to the left."""

    position: Float[np.ndarray, "2"]  # of the centre of mass
    heading: float  # 0 is along x
    speed: float  # forwards
    drift: float  # speed to the left
    turn: float  # rad/s
    steering: float  # angle of the front wheels
    driven: float  # rad/s of the rear wheels
    rolling: float  # rad/s of all wheels

    @classmethod
    def read(cls, car: Any) -> "CarState":
        """Return the state of gymnasium's `car_dynamics.Car`."""
        hull, wheels = car.hull, car.wheels
        forward, right = hull.GetWorldVector((0, 1)), hull.GetWorldVector((1, 0))
        spins = [wheel.omega for wheel in wheels]
        return cls(
            position=np.array(hull.worldCenter),
            heading=hull.angle + math.pi / 2,
            speed=hull.linearVelocity.dot(forward),
            drift=-hull.linearVelocity.dot(right),
            turn=hull.angularVelocity,
            steering=(wheels[0].joint.angle + wheels[1].joint.angle) / 2,
            driven=(spins[2] + spins[3]) / 2,
            rolling=sum(spins) / 4,
        )


def steady_steering(
    speed: Float[np.ndarray, "n"], curvature: Float[np.ndarray, "n"], times: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Return drift and angle of the front wheels with which the car follows a curve.

    They come from the inverse of the one-track model: the axles share the sideways force, and the difference of their
    torques turns the car.
    """
    turn = speed * curvature
    side, twist = MASS * speed * turn, INERTIA * np.gradient(turn, times)
    front, rear = (side * REAR + twist) / (FRONT + REAR), (side * FRONT - twist) / (FRONT + REAR)
    drift = REAR * turn - rear / (2 * STIFFNESS)
    steering = (drift + FRONT * turn + front / (2 * STIFFNESS)) / np.maximum(speed, 5)
    return drift, steering


def _gains(speed: float, effort: float) -> Float[np.ndarray, "5"]:
    """Return the optimal feedback gains of offset, drift, heading, turn and steering at one speed.

    This is the linear-quadratic regulator of the one-track model, in frames. It weighs the squared offset from the line
    against `effort` times the squared change of steering. The wheels take a frame to turn.
    """
    lever, spread = FRONT - REAR, FRONT**2 + REAR**2
    k = 2 * STIFFNESS
    rates = np.zeros((5, 5))
    rates[0, 1:3] = 1, speed
    rates[1, [1, 3, 4]] = -2 * k / MASS, -k * lever / MASS - speed, k * speed / MASS
    rates[2, 3] = 1
    rates[3, [1, 3, 4]] = -k * lever / INERTIA, -k * spread / INERTIA, k * FRONT * speed / INERTIA
    moves = expm(rates * FRAME)
    given = moves[:, 4:] / 2
    moves[:, 4:] /= 2  # the mean of the old angle and the new one
    moves[4, 4], given[4] = 0, 1
    costs, cross = np.diag([1, 0, 0, 0, effort]), np.array([[0, 0, 0, 0, -effort]]).T
    future = solve_discrete_are(moves, given, costs, np.array([[effort + 1e-3]]), s=cross)
    weight = effort + 1e-3 + given.T @ future @ given
    return ((given.T @ future @ moves + cross.T) / weight)[0]


@functools.lru_cache(maxsize=4)
def steering_gains(effort: float) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k 5"]]:
    """Return speeds, and the feedback gains at each."""
    speeds = np.linspace(2, 102, 26)
    return speeds, np.array([_gains(speed, effort) for speed in speeds])


def gas_for(acceleration: float, state: CarState) -> float:
    """Return the gas for an acceleration, as far as the rear tyres allow while the car turns."""
    sideways = STIFFNESS * (state.drift - REAR * state.turn)
    force = min((MASS / 2 + ROLLING) * acceleration, _remaining_force(sideways))
    faster = (state.speed + force / STIFFNESS) / RADIUS - state.driven
    return float(np.clip(faster * (abs(state.driven) + IDLE) * SPIN / (FRAME * ENGINE), 0, 1))


def brake_for(deceleration: float, state: CarState) -> float:
    """Return the brake for a deceleration, as far as all tyres allow while the car turns; it never blocks a wheel."""
    rear = STIFFNESS * (state.drift - REAR * state.turn)
    front = STIFFNESS * (state.drift + FRONT * state.turn - state.speed * state.steering)
    force = min(MASS / 4 * deceleration, max(_remaining_force(max(abs(rear), abs(front))), MIN_BRAKE_SHARE * HOLD))
    slower = state.rolling - (state.speed - force / STIFFNESS) / RADIUS
    return float(np.clip(slower / BRAKE, 0, BLOCK - 0.05))


def _remaining_force(sideways: float) -> float:
    """Return the force that a tyre has left along the car."""
    return math.sqrt(max((0.95 * HOLD) ** 2 - sideways**2, 0))
