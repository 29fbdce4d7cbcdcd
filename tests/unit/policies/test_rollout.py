"""Episodes in other processes: the same in all of them, recorded once, and none is lost."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from helpers.worlds import Walk, Walker, factory, play_on, truth
from shortcut_models.errors import UserError
from shortcut_models.policies.episode import Episode, play
from shortcut_models.policies.rollout import Records, fresh_seeds, roll_out
from shortcut_models.policies.workers import WorkerFactory

pytestmark = pytest.mark.multiprocess

SEEDS, STEPS = range(100, 108), (1, 16)


def outcomes(episodes: list[Episode]) -> dict[tuple[int, int], tuple[float, int, str]]:
    return {(one.steps, one.seed): (one.score, one.frames, one.ended) for one in episodes}


EXPECTED = {(n, seed): truth(n, seed) for seed in SEEDS for n in STEPS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Episode]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, roll_out(factory(), Records(folder), STEPS, SEEDS, workers=2, quiet=True)


def test_episodes_equal_the_closed_form(whole: tuple[Path, list[Episode]]) -> None:
    found = outcomes(whole[1])
    assert list(found) == list(EXPECTED)
    assert {kind for _, _, kind in EXPECTED.values()} == {"done", "time limit"}
    for key, (score, frames, ended) in EXPECTED.items():
        assert found[key] == (pytest.approx(score, abs=1e-4), frames, ended)


def test_it_is_the_same_in_one_process_and_in_this_one(whole: tuple[Path, list[Episode]], tmp_path: Path) -> None:
    alone = roll_out(factory(), Records(tmp_path), STEPS, SEEDS, workers=1, quiet=True)
    here = [play(Walker(), Walk(), steps, seed) for seed in SEEDS for steps in STEPS]
    assert outcomes(alone) == outcomes(whole[1]) == outcomes(here)


@pytest.mark.usefixtures("clock")
def test_decisions_and_seconds_are_counted() -> None:
    episode = play(Walker(execute=4, seconds=0.005), Walk(), 2, 100)
    _, frames, _ = truth(2, 100)
    assert (episode.frames, episode.decisions) == (frames, -(-frames // 4))
    assert episode.decision_seconds == pytest.approx(0.01 * episode.decisions, rel=1e-3)
    assert 0 < episode.policy_seconds - episode.decision_seconds < 1e-5 * frames
    assert 0 < episode.simulator_seconds < 1e-5 * frames


def test_recorded_episodes_are_not_played_again(whole: tuple[Path, list[Episode]]) -> None:
    folder, episodes = whole
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    assert len(before) == len(episodes)
    broken = WorkerFactory(Walker, no_world)
    assert roll_out(broken, Records(folder), STEPS, SEEDS, quiet=True) == episodes
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")} == before


def no_world() -> Walk:
    raise RuntimeError("there is none")


def test_an_environment_that_cannot_be_opened_is_reported_before_any_episode(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened: RuntimeError: there is none"):
        roll_out(WorkerFactory(Walker, no_world), Records(tmp_path), STEPS, SEEDS, quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_crash_is_recorded_with_its_reason_and_the_other_episodes_are_played(tmp_path: Path, workers: int) -> None:
    trouble = {101: "raise", 103: "die", 104: "exit", 105: "nan", 106: "reset", 102: "vanish", 107: "quit"}
    found = outcomes(roll_out(factory(trouble), Records(tmp_path), STEPS, SEEDS, workers=workers, quiet=True))
    reasons = {
        101: "ZeroDivisionError: two lines of complaint",
        103: "SIGKILL ended the process",
        104: "the process ended with code 3",
        105: "ValueError: the score is nan",
        106: "RuntimeError: no world of this seed",
        102: "the process ended with code 0",
        107: "the process ended with code 1",
    }
    assert list(found) == list(EXPECTED)
    for (steps, seed), outcome in found.items():
        if seed in reasons:
            assert outcome[2] == f"crashed: {reasons[seed]}"
        else:
            assert outcome == (pytest.approx(EXPECTED[steps, seed][0], abs=1e-4), *EXPECTED[steps, seed][1:])
    assert found[1, 101][1] == 2  # whole frames before it
    assert found[1, 103][:2] == (0.0, 0)


def deadly_world() -> Walk:
    os.kill(os.getpid(), signal.SIGKILL)
    return Walk()


def test_a_process_that_ends_before_its_first_episode_ends_the_rollout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="SIGKILL ended the process before it could start: try fewer --workers"):
        roll_out(WorkerFactory(Walker, deadly_world), Records(tmp_path), STEPS, SEEDS, workers=2, quiet=True)
    assert not list(tmp_path.iterdir())


def one_world(mark: Path) -> Walk:
    """Return an environment that fails with seed 101; a second one cannot be opened."""
    if mark.exists():
        raise RuntimeError("the screen is gone")
    mark.touch()
    return Walk((), {101: "raise"})


def test_the_reason_of_a_crash_is_kept_when_the_environment_cannot_be_reopened(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    only = WorkerFactory(Walker, functools.partial(one_world, tmp_path / "mark"))
    with pytest.raises(UserError, match="cannot be opened: RuntimeError: the screen is gone"):
        roll_out(only, records, [1], range(100, 104), quiet=True)
    ends = {seed: episode and episode.ended for seed in range(100, 104) for episode in [records.read(1, seed)]}
    assert ends == {100: "done", 101: "crashed: ZeroDivisionError: two lines of complaint", 102: None, 103: None}


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_an_interrupted_rollout_continues_with_the_missing_episodes(
    tmp_path: Path, whole: tuple[Path, list[Episode]], number: int
) -> None:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=play_on, args=(tmp_path, SEEDS, STEPS, 2))
    process.start()
    while len(list(tmp_path.rglob("[!.]*.json"))) < 3:
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == (-number if number == signal.SIGKILL else 1)
    left = {path: path.read_bytes() for path in tmp_path.rglob("[!.]*.json")}
    assert 3 <= len(left) < len(EXPECTED)
    assert all(json.loads(content)["ended"] in ("done", "time limit") for content in left.values())
    again = roll_out(factory(), Records(tmp_path), STEPS, SEEDS, workers=2, quiet=True)
    assert outcomes(again) == outcomes(whole[1])
    assert all(path.read_bytes() == content for path, content in left.items())


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"steps": 1}', "words", "other seed", "text as score"])
def test_a_damaged_record_is_refused_when_it_is_read(tmp_path: Path, content: str) -> None:
    records = Records(tmp_path)
    records.write(play(Walker(), Walk(), 1, 100))
    path = records.path(1, 100)
    whole = json.loads(path.read_text())
    changed = {"other seed": {"seed": 7}, "text as score": {"score": "12"}}.get(content)
    path.write_text(content if changed is None else json.dumps(whole | changed))
    with pytest.raises(UserError, match=r"000100\.json is damaged: remove it, and the same command plays"):
        records.read(1, 100)


def test_fresh_seeds_skip_those_of_training() -> None:
    assert fresh_seeds(3) == [1_000_000, 1_000_001, 1_000_002]
    assert fresh_seeds(4, 5, (6, 8, 100)) == [5, 7, 9, 10]
