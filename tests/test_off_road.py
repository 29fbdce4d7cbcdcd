"""How the expert of CarRacing gets back from the grass."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shortcut_models.environments import CarRacing
from shortcut_models.experts import CarRacingExpert, car
from shortcut_models.experts.car import CarState
from shortcut_models.experts.off_road import GRASS, TOP, pursue

AROUND = [(distance, math.radians(angle)) for distance in (25, 40, 80) for angle in (0, 40, 80, 120, 179, -60, -150)]
"""distances and bearings, outside the tightest circle"""


def standing(x: float, y: float, heading: float, speed: float, turn: float = 0.0, drift: float = 0.0) -> CarState:
    spin = speed / car.RADIUS
    return CarState(np.array([x, y]), heading, speed, drift, turn, 0.0, spin, spin)


@pytest.mark.parametrize(("distance", "angle"), AROUND)
def test_a_car_whose_tyres_roll_where_they_point_gets_there(distance: float, angle: float) -> None:
    """The kinematic one-track model, which knows nothing of pursuit, from any side."""
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


def test_it_is_no_faster_than_grass_lets_it_turn() -> None:
    """Where neither gas nor brake is used, half of what the tyres hold keeps the car on the arc to the point."""
    for distance, angle in ((20, 0.6), (30, 0.9), (12, 0.6)):
        goal = distance * math.cos(angle), distance * math.sin(angle)
        arc = distance / (2 * math.sin(angle))
        kept = math.sqrt(0.5 * GRASS * car.GRIP * arc)
        for speed, brakes in ((0.9 * kept, False), (1.1 * kept, True)):
            _, gas, brake = pursue(standing(0, 0, 0, speed, speed / arc), *goal)
            assert (gas > 0) != brakes, (distance, angle)
            assert (brake > 0) == brakes
    assert pursue(standing(0, 0, 0, 0.99 * TOP), 500.0, 0.0)[1] > 0
    assert pursue(standing(0, 0, 0, 1.2 * TOP), 500.0, 0.0)[2] > 0


@pytest.fixture(scope="module")
def world() -> CarRacing:
    pytest.importorskip("gymnasium", reason="needs the extra `car-racing`")
    return CarRacing(None)


def laps_with_blunders(world: CarRacing, seeds: range) -> tuple[list[float], int]:
    """Returns of laps in which the wheel is held twice for up to 0.8 s -> and the longest way back, in frames."""
    expert, scores, longest = CarRacingExpert(), [], 0
    for seed in seeds:
        random = np.random.default_rng(seed)
        world.reset(seed)
        expert.begin(world)
        middle, over, away = np.array(world.world.track)[:, 2:], False, 0
        blunders = [
            (begin, begin + length, np.array([steering, gas, 0], np.float32))
            for begin, length, steering, gas in zip(
                random.integers(100, 500, 2), random.integers(10, 40, 2),
                random.choice([-0.3, 0.3], 2) * random.uniform(0.3, 1, 2), random.uniform(0, 1, 2), strict=True,
            )
        ]  # fmt: skip
        while not over:
            action = expert.act({})
            for begin, end, blunder in blunders:
                action = blunder if begin <= world.frames < end else action
            _, over = world.step(action)
            offset = np.hypot(*(middle - world.world.car.hull.position).T).min()
            away = away + 1 if offset > 9 or (away and offset > 5) else 0
            longest = max(longest, away)
        scores.append(world.score())
    return scores, longest


def test_it_comes_back_from_the_grass(world: CarRacing) -> None:
    scores, longest = laps_with_blunders(world, range(500, 504))
    assert min(scores) > 800
    assert np.mean(scores) > 850
    assert 50 < longest < 300  # they did leave the road


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_50_laps_with_blunders(world: CarRacing) -> None:
    """The figures of docs/car-racing.md."""
    scores, longest = laps_with_blunders(world, range(200_000, 200_050))
    print(f"\nmean {np.mean(scores):.1f} +- {np.std(scores):.1f}, lowest {min(scores):.1f}, back in {longest} frames")
    assert np.mean(scores) > 850
    assert min(scores) > 600
