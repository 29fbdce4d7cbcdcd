"""How the expert of CarRacing gets back from the grass."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shortcut_models.policies.environments import CarRacing
from shortcut_models.policies.experts import CarRacingExpert
from shortcut_models.policies.experts.car_racing import car
from shortcut_models.policies.experts.car_racing.car import CarState
from shortcut_models.policies.experts.car_racing.off_road import GRASS, TOP_SPEED, pursue

pytestmark = pytest.mark.needs_extra

AROUND = [(distance, math.radians(angle)) for distance in (25, 40, 80) for angle in (0, 40, 80, 120, 179, -60, -150)]
"""distances and bearings, outside the tightest circle"""


def standing(x: float, y: float, heading: float, speed: float, turn: float = 0.0, drift: float = 0.0) -> CarState:
    spin = speed / car.RADIUS
    return CarState(np.array([x, y]), heading, speed, drift, turn, 0.0, spin, spin)


@pytest.mark.parametrize(("distance", "angle"), AROUND)
def test_a_car_whose_tyres_roll_where_they_point_gets_there(distance: float, angle: float) -> None:
    """The kinematic one-track model reaches the point from any side."""
    goal = distance * math.cos(angle), distance * math.sin(angle)
    x, y, heading, speed, turn = 0.0, 0.0, 0.0, 8.0, 0.0
    nearest = distance
    for _ in range(1000):
        steering, _, _ = pursue(standing(x, y, heading, speed, turn), *goal)
        assert abs(steering) <= car.LOCK
        turn = speed * math.tan(steering) / (car.FRONT + car.REAR)
        heading += turn * car.FRAME
        x, y = x + speed * math.cos(heading) * car.FRAME, y + speed * math.sin(heading) * car.FRAME
        nearest = min(nearest, math.dist((x, y), goal))
    assert nearest < 1.0


def test_left_and_right_are_alike() -> None:
    for distance, angle in AROUND[1:]:
        goal = distance * math.cos(angle), distance * math.sin(angle)
        left = pursue(standing(0, 0, 0, 12, 0.3, 0.5), *goal)
        right = pursue(standing(0, 0, 0, 12, -0.3, -0.5), goal[0], -goal[1])
        np.testing.assert_allclose(right, (-left[0], *left[1:]), atol=1e-9)


def test_it_drives_only_as_fast_as_it_can_turn_on_grass() -> None:
    """Where neither gas nor brake is used, half of what the tyres hold keeps the car on the arc to the point."""
    for distance, angle in ((20, 0.6), (30, 0.9), (12, 0.6)):
        goal = distance * math.cos(angle), distance * math.sin(angle)
        arc = distance / (2 * math.sin(angle))
        kept = math.sqrt(0.5 * GRASS * car.GRIP * arc)
        for speed, brakes in ((0.9 * kept, False), (1.1 * kept, True)):
            _, gas, brake = pursue(standing(0, 0, 0, speed, speed / arc), *goal)
            assert (gas > 0) != brakes, (distance, angle)
            assert (brake > 0) == brakes
    assert pursue(standing(0, 0, 0, 0.99 * TOP_SPEED), 500.0, 0.0)[1] > 0
    assert pursue(standing(0, 0, 0, 1.2 * TOP_SPEED), 500.0, 0.0)[2] > 0


@pytest.fixture(scope="module")
def world() -> CarRacing:
    pytest.importorskip("gymnasium", reason="needs the extra `car-racing`")
    return CarRacing(None)


def test_the_wheels_follow_a_slide() -> None:
    """A car that points at the goal and slides to the left is steered to the left."""
    steering, _, _ = pursue(standing(0, 0, 0, 20, drift=3.0), 60.0, 0.0)
    assert 0.05 < steering < math.atan2(3, 20)


def set_down(world: CarRacing, expert: CarRacingExpert, point: int, left: float, turned: float, speed: float) -> None:
    """Put the car beside a point of the line, so many metres to its left, turned against it, and rolling."""
    along = expert.plan.line.points[point + 1] - expert.plan.line.points[point - 1]
    course = math.atan2(along[1], along[0])
    position = expert.plan.line.points[point] + left * np.array([-math.sin(course), math.cos(course)])
    hull, wheels, heading = world.simulator.car.hull, world.simulator.car.wheels, course + turned
    angle, pivot = heading - math.pi / 2 - hull.angle, np.array(hull.worldCenter)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    for body in (hull, *wheels):
        body.position, body.angle = tuple(position + rotation @ (np.array(body.position) - pivot)), body.angle + angle
        body.linearVelocity = speed * math.cos(heading), speed * math.sin(heading)
        body.angularVelocity = 0
    for wheel in wheels:
        wheel.omega = speed / car.RADIUS
    expert._nearest = point


@pytest.mark.parametrize("turned", [0.0, 1.5, -1.5, 3.0])
@pytest.mark.parametrize("left", [-40, -20, 20, 40])
def test_set_down_beside_the_road_it_comes_back(world: CarRacing, left: float, turned: float) -> None:
    """Twenty metres off and parallel to the road, its distance alone says that it is lost."""
    expert = CarRacingExpert()
    world.reset(seed=300)
    expert.begin(world)
    set_down(world, expert, 60, left, turned, 20.0)
    points, kept, reached = expert.plan.line.points, 0, []
    for _ in range(300):
        world.step(expert.act({}))
        away = np.hypot(*(points - world.simulator.car.hull.position).T)
        kept = kept + 1 if away.min() < 2 else 0
        reached.append(away.argmin())
        if kept == 25:
            break
    assert kept == 25
    assert not expert.takes_over()
    assert (np.diff(reached[-20:]) >= 0).all()  # not the wrong way round
    assert reached[-1] > reached[-20]


def perturbed_laps(world: CarRacing, seeds: range) -> tuple[list[float], int]:
    """Return the scores of laps in which the wheel is held twice for up to 0.8 s, and the longest way back (frames)."""
    expert, scores, longest = CarRacingExpert(), [], 0
    for seed in seeds:
        random = np.random.default_rng(seed)
        world.reset(seed=seed)
        expert.begin(world)
        middle, over, away = np.array(world.simulator.track)[:, 2:], False, 0
        perturbations = [
            (begin, begin + length, np.array([steering, gas, 0], np.float32))
            for begin, length, steering, gas in zip(
                random.integers(100, 500, 2), random.integers(10, 40, 2),
                random.choice([-0.3, 0.3], 2) * random.uniform(0.3, 1, 2), random.uniform(0, 1, 2), strict=True,
            )
        ]  # fmt: skip
        while not over:
            action = expert.act({})
            for begin, end, held in perturbations:
                action = held if begin <= world.frames < end else action
            _, _, terminated, truncated, _ = world.step(action)
            over = terminated or truncated
            offset = np.hypot(*(middle - world.simulator.car.hull.position).T).min()
            away = away + 1 if offset > 9 or (away and offset > 5) else 0
            longest = max(longest, away)
        scores.append(world.metric())
    return scores, longest


@pytest.mark.long
def test_it_comes_back_from_the_grass(world: CarRacing) -> None:
    scores, longest = perturbed_laps(world, range(500, 504))
    assert min(scores) > 800
    assert np.mean(scores) > 850
    assert 50 < longest < 300  # they did leave the road


@pytest.mark.slow
def test_50_perturbed_laps(world: CarRacing) -> None:
    """The figures of docs/car-racing.md."""
    scores, longest = perturbed_laps(world, range(200_000, 200_050))
    print(f"\nmean {np.mean(scores):.1f} +- {np.std(scores):.1f}, lowest {min(scores):.1f}, back in {longest} frames")
    assert np.mean(scores) > 850
    assert min(scores) > 600
