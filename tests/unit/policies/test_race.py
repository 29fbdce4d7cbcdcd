"""Races: the state of each policy at each time, and the frames of the video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from helpers.worlds import Walk, Walker, truth
from shortcut_models.drawing.video import GIF_WIDTH
from shortcut_models.errors import UserError
from shortcut_models.policies.race import HOLD_SECONDS, Contestant, Track, race, write_race

RED = np.array([200, 30, 30])


def track(steps: int, seed: int = 100, seconds: float = 0.0, real_time: bool = False, trouble: str = "") -> Track:
    world = Walk(trouble={seed: trouble})
    return Track(Contestant("walker", Walker(seconds=seconds), steps, 128), world, seed, real_time=real_time)


def test_each_policy_plays_its_own_episode_and_stays_on_its_last_frame() -> None:
    slow, fast = track(1), track(64)
    frames = list(race([slow, fast], 20, 400))
    expected = truth(1, 100), truth(64, 100)
    assert expected[0][1] > expected[1][1]
    assert [(one.now.score, one.now.ended) for one in (slow, fast)] == [
        (pytest.approx(score, abs=1e-4), ended) for score, _, ended in expected
    ]
    assert slow.now.clock == pytest.approx(expected[0][1] / 20)
    assert len(frames) == expected[0][1] + 1 + round(HOLD_SECONDS * 20)
    assert {frame.shape for frame in frames} == {frames[0].shape}
    halves = [frame[:, frame.shape[1] // 2 :] for frame in frames]
    assert all((half == halves[-1]).all() for half in halves[expected[1][1] :])
    assert (halves[0] != halves[-1]).any()


def test_at_every_tick_the_picture_is_that_of_the_clock() -> None:
    """At half the rate of the world, every second frame of it."""
    places = []
    walk, walker = Walk(), Walker()
    (observation, _), over = walk.reset(seed=100), False
    walker.reset(seed=100)
    while not over:
        places.append(walk.render())
        observation, _, over, _, _ = walk.step(walker.act(observation, 64))
    frames = list(race([track(64)], 10, 61))
    reds = [int((np.abs(frame.astype(int) - RED).max(-1) < 10).sum()) for frame in frames]
    expected = [int((picture == RED).all(-1).sum()) for picture in places[::2]]
    assert reds[: len(expected)] == expected


@pytest.mark.usefixtures("clock")
def test_in_real_time_the_world_waits_for_the_policy() -> None:
    """20 frames a second: a decision of 0.2 s takes the place of 4 frames, one of 0.01 s is in time."""
    waits, in_time = track(64, seconds=0.2 / 64, real_time=True), track(64, seconds=0.01 / 64, real_time=True)
    _, frames, _ = truth(64, 100)
    for one in (waits, in_time):
        one.advance_to(1e9)
    decisions = -(-frames // 4)
    assert in_time.now.clock == pytest.approx(frames / 20)
    assert waits.now.clock == pytest.approx(frames / 20 + decisions * (0.2 - 0.05), rel=1e-3)
    assert waits.now.score == in_time.now.score


@pytest.mark.usefixtures("clock")
def test_a_frame_is_shown_until_the_next_one() -> None:
    one = track(64, seconds=0.2 / 64, real_time=True)
    start = one.now
    one.advance_to(0.19)
    assert one.now is start
    one.advance_to(0.21)
    assert one.now.clock == pytest.approx(0.2, rel=1e-3)


def test_a_crash_freezes_its_picture_and_the_others_continue() -> None:
    crashes, unharmed = track(1, trouble="raise"), track(1)
    list(race([crashes, unharmed], 20, 400))
    assert crashes.now.ended == "crashed: ZeroDivisionError: two lines of complaint"
    assert unharmed.now.ended == truth(1, 100)[2]


def test_an_environment_that_cannot_start_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="the environment fails with seed 100: crashed: RuntimeError: no world of this"):
        track(1, trouble="reset")


def test_a_limit_of_seconds_is_kept() -> None:
    assert len(list(race([track(1)], 20, 400, seconds=0.5))) == 10


def test_the_frames_of_a_video_are_no_wider_than_asked_for() -> None:
    for count in (1, 3, 4):
        frame = next(race([track(1) for _ in range(count)], 20, 150, note="a note"))
        assert frame.shape[1] <= 150


def test_a_race_is_written(tmp_path: Path) -> None:
    write_race(tmp_path / "race.gif", [track(1), track(64)], "a note", seconds=1.0)
    expected = list(race([track(1), track(64)], 10, GIF_WIDTH, "a note", seconds=1.0))
    with Image.open(tmp_path / "race.gif") as file:
        frames = [
            np.asarray(frame.convert("RGB"))
            for frame in ImageSequence.Iterator(file)
            for _ in range(int(frame.info["duration"]) // 100)
        ]
    assert len(frames) == len(expected) == 10
    for frame, meant in zip(frames, expected, strict=True):
        gap = np.abs(frame.astype(int) - meant).max(-1)
        assert frame.shape == meant.shape
        assert (gap > 40).mean() < 0.01
