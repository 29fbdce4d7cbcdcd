"""Races: who is where at which time, and what the video shows of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from helpers.worlds import Walk, Walker, truth
from shortcut_models.drawing.video import GIF_WIDTH
from shortcut_models.errors import UserError
from shortcut_models.policies.race import HOLD, Entrant, Lane, race, write_race

RED = np.array([200, 30, 30])


def lane(steps: int, seed: int = 100, seconds: float = 0.0, real_time: bool = False, trouble: str = "") -> Lane:
    world = Walk(trouble={seed: trouble})
    return Lane(Entrant("walker", Walker(seconds=seconds), steps, 128), world, seed, real_time=real_time)


def test_each_plays_its_own_episode_and_stays_on_its_last_frame() -> None:
    slow, fast = lane(1), lane(64)
    frames = list(race([slow, fast], 20, 400))
    expected = truth(1, 100), truth(64, 100)
    assert expected[0][1] > expected[1][1]
    assert [(one.now.score, one.now.ended) for one in (slow, fast)] == [
        (pytest.approx(score, abs=1e-4), ended) for score, _, ended in expected
    ]
    assert slow.now.clock == pytest.approx(expected[0][1] / 20)
    assert len(frames) == expected[0][1] + 1 + round(HOLD * 20)
    assert {frame.shape for frame in frames} == {frames[0].shape}
    halves = [frame[:, frame.shape[1] // 2 :] for frame in frames]
    assert all((half == halves[-1]).all() for half in halves[expected[1][1] :])
    assert (halves[0] != halves[-1]).any()


def test_at_every_tick_the_picture_is_that_of_the_clock() -> None:
    """At half the rate of the world, every second frame of it."""
    places = []
    walk, walker = Walk(), Walker()
    seen, over = walk.reset(100), False
    walker.reset(seed=100)
    while not over:
        places.append(walk.picture())
        seen, over = walk.step(walker.act(seen, 64))
    frames = list(race([lane(64)], 10, 61))
    reds = [int((np.abs(frame.astype(int) - RED).max(-1) < 10).sum()) for frame in frames]
    expected = [int((picture == RED).all(-1).sum()) for picture in places[::2]]
    assert reds[: len(expected)] == expected


def test_in_real_time_the_world_waits_for_the_policy() -> None:
    """20 frames a second: a decision of 0.2 s takes the place of 4 frames, one of 0.01 s is in time."""
    waits, in_time = lane(64, seconds=0.2 / 64, real_time=True), lane(64, seconds=0.01 / 64, real_time=True)
    _, frames, _ = truth(64, 100)
    for one in (waits, in_time):
        one.until(1e9)
    decisions = -(-frames // 4)
    assert in_time.now.clock == pytest.approx(frames / 20, abs=0.1)
    assert waits.now.clock == pytest.approx(frames / 20 + decisions * (0.2 - 0.05), rel=0.1)
    assert waits.now.score == in_time.now.score


def test_until_the_next_frame_comes_the_one_before_is_shown() -> None:
    one = lane(64, seconds=0.2 / 64, real_time=True)
    start = one.now
    one.until(0.19)
    assert one.now is start
    one.until(0.24)
    assert one.now.clock == pytest.approx(0.2, abs=0.04)


def test_one_that_crashes_stays_where_it_was_and_the_others_go_on() -> None:
    crashes, goes_on = lane(1, trouble="raise"), lane(1)
    list(race([crashes, goes_on], 20, 400))
    assert crashes.now.ended == "crashed: ZeroDivisionError: two lines of complaint"
    assert goes_on.now.ended == truth(1, 100)[2]


def test_a_world_that_cannot_begin_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="the environment fails with seed 100: crashed: RuntimeError: no world of this"):
        lane(1, trouble="reset")


def test_a_limit_of_seconds_is_kept() -> None:
    assert len(list(race([lane(1)], 20, 400, seconds=0.5))) == 10


def test_the_frames_of_a_video_are_no_wider_than_asked_for() -> None:
    for count in (1, 3, 4):
        frame = next(race([lane(1) for _ in range(count)], 20, 150, note="a note"))
        assert frame.shape[1] <= 150


def test_a_race_is_written(tmp_path: Path) -> None:
    write_race(tmp_path / "race.gif", [lane(1), lane(64)], "a note", seconds=1.0)
    expected = list(race([lane(1), lane(64)], 10, GIF_WIDTH, "a note", seconds=1.0))
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
