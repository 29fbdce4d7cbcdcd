"""The expert of CarRacing: its profile against closed forms, its model against the simulator, its laps."""

from __future__ import annotations

import numpy as np
import pytest

from shortcut_models.policies.collect import record_episode
from shortcut_models.policies.environments import CarRacing
from shortcut_models.policies.experts import CarRacingExpert
from shortcut_models.policies.experts.car_racing import car
from shortcut_models.policies.experts.car_racing.car import CarState
from shortcut_models.policies.experts.car_racing.expert import Style
from shortcut_models.policies.experts.car_racing.racing_line import Road, _Shape, racing_line
from shortcut_models.policies.experts.car_racing.speed_profile import MIN_CURVATURE, Limits, SpeedProfile

pytestmark = pytest.mark.needs_extra

LIMITS = Limits(grip=100.0, brake=80.0, drive=30.0)


def test_on_a_circle_the_speed_is_sqrt_of_grip_times_radius() -> None:
    for radius in (5.0, 20.0, 80.0):
        profile = SpeedProfile(np.full(400, -1 / radius), np.full(399, 1.0), LIMITS, np.sqrt(100 * radius))
        np.testing.assert_allclose(profile.speeds, np.sqrt(100 / (1 / radius + MIN_CURVATURE)), rtol=1e-2)


def test_on_a_straight_the_speed_is_that_of_a_steady_push() -> None:
    distance = np.linspace(0, 50, 501)
    profile = SpeedProfile(np.zeros(501), np.diff(distance), LIMITS, 0.5)
    np.testing.assert_allclose(profile.speeds, np.sqrt(0.25 + 2 * 30 * distance), rtol=1e-3)
    assert profile.times[-1] == pytest.approx((profile.speeds[-1] - 0.5) / 30, rel=1e-3)


def test_at_full_power_the_cube_of_the_speed_grows_with_the_way() -> None:
    distance = np.linspace(0, 200, 4001)
    profile = SpeedProfile(np.zeros(4001), np.diff(distance), Limits(100.0, 80.0, 1e6, power=900.0), 10.0)
    np.testing.assert_allclose(profile.speeds, np.cbrt(1000 + 3 * 900 * distance), rtol=5e-3)


def test_it_brakes_as_late_as_it_can() -> None:
    curvature = np.append(np.zeros(400), np.full(100, 0.1))
    profile = SpeedProfile(curvature, np.full(499, 0.25), LIMITS, 60.0)
    corner = 100 / (0.1 + MIN_CURVATURE)
    braking = np.flatnonzero(np.diff(profile.speeds[:401]) < 0)
    assert (np.diff(braking) == 1).all()
    at = braking[1:]
    left = (400 - at) * 0.25
    # The grip is shared in the curve itself, so that the last metre brakes a little less.
    np.testing.assert_allclose(profile.speeds[at] ** 2, corner + 2 * 80 * left, rtol=0.05)


def test_never_faster_than_the_top_speed() -> None:
    profile = SpeedProfile(np.zeros(100), np.full(99, 10.0), Limits(100.0, 80.0, 30.0, top_speed=42.0), 1.0)
    assert profile.speeds.max() == pytest.approx(42)


def test_the_gradient_of_the_time_is_that_of_finite_differences() -> None:
    angle = np.linspace(0, 3, 60)
    random = np.random.default_rng(5)
    wave = 30 * np.stack([np.cos(angle), np.sin(2 * angle)], 1) + random.normal(0, 0.2, (60, 2))
    limits, step = Limits(100.0, 80.0, 30.0, power=900.0), 3e-6

    def time(points: np.ndarray) -> float:
        shape = _Shape(points)
        return float(SpeedProfile(shape.curvature, shape.gaps, limits, 8.0).times[-1])

    shape = _Shape(wave)
    found = shape.gradient(*SpeedProfile(shape.curvature, shape.gaps, limits, 8.0).time_gradient())
    moves = step * np.eye(120).reshape(120, 60, 2)
    expected = [(time(wave + move) - time(wave - move)) / (2 * step) for move in moves]
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)


@pytest.fixture(scope="module")
def world() -> CarRacing:
    pytest.importorskip("gymnasium", reason="needs the extra `car-racing`")
    return CarRacing(None)


def test_the_line_stays_inside_the_road_and_is_faster_than_the_middle(world: CarRacing) -> None:
    world.reset(seed=11)
    road = Road.of(world.simulator.track, world.simulator.half_width).lap(0, 10)
    style = Style()
    line = racing_line(road, style.limits(), style.margin, style.roughness, 0.0, 0.0)
    room = road.half_width - style.margin
    assert np.abs(line.offsets).max() < room + 0.3  # between its knots
    middle = _Shape(road.middle)
    straight_on = SpeedProfile(middle.curvature, middle.gaps, style.limits(), 0.0)
    assert line.profile.times[-1] < 0.9 * straight_on.times[-1]
    np.testing.assert_allclose(line.points[0], road.middle[0], atol=1e-9)


def test_round_a_bend_the_line_goes_outside_inside_outside() -> None:
    angle = np.linspace(0, np.pi / 2, 12)
    bend = 20 * np.stack([1 - np.cos(angle), np.sin(angle)], 1)
    before = np.stack([np.zeros(15), np.linspace(-52.5, -3.5, 15)], 1)
    after = bend[-1] + np.stack([np.linspace(3.5, 52.5, 15), np.zeros(15)], 1)
    middle = np.concatenate([before, bend, after])
    along = np.gradient(middle, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    road = Road(middle, np.stack([along[:, 1], -along[:, 0]], 1), 6.0)
    line = racing_line(road, LIMITS, 1.0, 0.1, 0.0, 50.0)
    apex = int(line.offsets.argmax())  # it bends to the right, from point 30 to point 52
    assert 30 < apex < 52
    assert line.offsets[apex] > 2
    assert line.offsets[:apex].min() < -2
    assert line.offsets[apex:].min() < -2
    middle_bend = 1 / 20
    assert np.abs(line.curvature[apex - 6 : apex + 7]).max() < 0.8 * middle_bend


def test_the_model_is_the_simulators_car(world: CarRacing) -> None:
    from gymnasium.envs.box2d import car_dynamics as rules

    world.reset(seed=0)
    bodies = [world.simulator.car.hull, *world.simulator.car.wheels]
    masses = np.array([body.mass for body in bodies])
    centre = masses @ np.array([body.worldCenter for body in bodies]) / masses.sum()
    away = np.array([body.worldCenter for body in bodies]) - centre
    hull = bodies[0]
    own = [body.inertia - body.mass * np.dot(body.localCenter, body.localCenter) for body in bodies]
    assert pytest.approx(masses.sum(), rel=1e-3) == car.MASS
    assert pytest.approx(sum(own) + masses @ (away**2).sum(1), rel=2e-2) == car.INERTIA
    forward = np.array(hull.GetWorldVector((0, 1)))
    axles = (np.array([body.worldCenter for body in bodies[1:]]) - np.array(hull.worldCenter)) @ forward
    np.testing.assert_allclose(axles, [car.FRONT, car.FRONT, -car.REAR, -car.REAR], atol=0.02)
    assert pytest.approx((rules.FRICTION_LIMIT, rules.ENGINE_POWER)) == (car.HOLD, car.ENGINE)
    assert pytest.approx((rules.WHEEL_R * rules.SIZE, rules.WHEEL_MOMENT_OF_INERTIA)) == (car.RADIUS, car.SPIN)
    assert pytest.approx(world.simulator.car.wheels[0].joint.upperLimit) == car.LOCK


def test_full_gas_on_the_straight_is_the_models_drive_and_power(world: CarRacing) -> None:
    world.reset(seed=0)
    speeds = []
    for _ in range(60):
        world.step(np.array([0, 1, 0], np.float32))
        speeds.append(CarState.read(world.simulator.car).speed)
    gained = np.diff(speeds) / car.FRAME
    assert gained[10:30].mean() == pytest.approx(car.DRIVE, rel=0.03)


def test_three_laps_above_900_on_the_road(world: CarRacing) -> None:
    expert = CarRacingExpert()
    for seed in (21, 22, 23):
        episode = record_episode(world, expert, seed)
        assert episode.score > 900
        assert episode.score == pytest.approx(1000 - 0.1 * len(episode.actions))
        assert all(wheel.tiles for wheel in world.simulator.car.wheels)
        assert (episode.actions >= world.action_space.low).all()
        assert (episode.actions <= world.action_space.high).all()
        changes = np.abs(np.diff(episode.actions[:, 0]))
        assert changes.mean() < 0.02  # of 0.8 between the stops


def test_it_recovers_from_noise(world: CarRacing) -> None:
    episode = record_episode(world, CarRacingExpert(), 1, noise=0.5)
    assert episode.score > 880
    again = record_episode(world, CarRacingExpert(), 1, noise=0.5)
    np.testing.assert_array_equal(again.actions, episode.actions)


def test_a_lap_with_a_missed_tile_continues_to_reach_it(world: CarRacing) -> None:
    """Tile 40 is marked as not visited, so the lap does not end: the expert drives another round to reach it."""
    expert = CarRacingExpert()
    world.reset(seed=8)
    expert.begin(world)
    tile, over = world.simulator.road[40], False
    while not over:
        _, _, terminated, truncated, _ = world.step(expert.act({}))
        over = terminated or truncated
        if tile.road_visited and world.frames < 400:
            tile.road_visited = False
            world.simulator.tile_visited_count -= 1
    assert world.simulator.tile_visited_count == len(world.simulator.track)
    assert 600 < world.frames < 1000


@pytest.mark.slow
def test_100_fresh_tracks(world: CarRacing) -> None:
    """The figures of docs/car-racing.md. The blog's human has 923.8 +- 8.5."""
    expert = CarRacingExpert()
    scores, left = [], 0
    for seed in range(100_000, 100_100):
        episode = record_episode(world, expert, seed)
        scores.append(episode.score)
        left += world.simulator.tile_visited_count < len(world.simulator.track)
    print(f"\nmean return {np.mean(scores):.1f} +- {np.std(scores):.1f}, lowest {min(scores):.1f}")
    assert left == 0
    assert np.mean(scores) >= 925
    assert np.std(scores) <= 12
    assert min(scores) > 900
