"""Environments of Gymnasium as ours: what they return, what an episode scores, and what is refused."""

from __future__ import annotations

import builtins
import hashlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from helpers import gym_worlds
from helpers.gym_worlds import LIMIT, Reach, make_reach
from helpers.runs import refusal
from helpers.worlds import Walk
from shortcut_models.policies.environments import GymEnvironment, ScoreError, is_known, open_environment
from shortcut_models.policies.episode import RunningEpisode

pytestmark = pytest.mark.needs_extra

MODULE = "helpers.gym_worlds"


def test_an_id_opens_the_environment_of_gymnasium() -> None:
    ours, theirs = open_environment("Pendulum-v1"), gymnasium.make("Pendulum-v1")
    assert isinstance(ours, GymEnvironment)
    assert (ours.observation_names, ours.metric_name, ours.max_episode_steps) == (("state",), "return", 200)
    assert ours.render_fps == theirs.metadata["render_fps"]
    assert (ours.action_space.low, ours.action_space.high) == ([-2], [2])
    (seen, _), (wanted, _) = ours.reset(seed=7), theirs.reset(seed=7)
    total, random = 0.0, np.random.default_rng(0)
    for frame in range(200):
        assert seen["state"].dtype == np.float32
        assert np.array_equal(seen["state"], wanted)
        action = random.uniform(-3, 3, 1).astype(np.float32)
        seen, reward, terminated, truncated, _ = ours.step(action)
        wanted, real, *_ = theirs.step(np.clip(action, -2, 2))
        assert reward == pytest.approx(real)
        total += real
        assert ours.metric() == pytest.approx(total)
        assert (terminated, truncated) == (False, frame == 199)
    assert ours.render().shape == (500, 500, 3)
    assert "gymnasium" in ours.packages
    assert ours.sources == {}
    ours.close()


def test_the_parts_of_a_dict_are_observations_by_name() -> None:
    world = GymEnvironment(make_reach)
    assert world.observation_names == ("camera_top", "state")
    seen, _ = world.reset(seed=0)
    assert {name: (array.dtype, array.shape) for name, array in seen.items()} == {
        "state": (np.float32, (1,)), "camera_top": (np.uint8, (4, 6, 3)),
    }  # fmt: skip
    assert set(GymEnvironment(make_reach, ["state"]).reset()[0]) == {"state"}
    assert GymEnvironment(make_reach, None).reset()[0] == {}


class Spaces(gymnasium.Env):
    """An environment of any spaces, which returns samples of them, and remembers its actions."""

    def __init__(self, observation: Any, action: Any = None, **metadata: Any) -> None:
        self.observation_space = observation
        self.action_space = spaces.Box(-1, 1, (1,)) if action is None else action
        self.metadata, self.actions = metadata, []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        return self.observation_space.sample(), 1.0, False, False, {}


@pytest.mark.parametrize(
    ("space", "name", "shape", "dtype"),
    [
        (spaces.Box(-1, 1, (3, 2), np.float64), "state", (6,), np.float32),
        (spaces.Box(-1, 1, (), np.float64), "state", (1,), np.float32),
        (spaces.Box(0, 255, (5, 4, 3), np.uint8), "image", (5, 4, 3), np.uint8),
        (spaces.Box(0, 255, (5, 4), np.uint8), "image", (5, 4, 1), np.uint8),
        (spaces.Box(0, 255, (7,), np.uint8), "state", (7,), np.float32),
        (spaces.Box(0, 1, (5, 4, 3), np.float32), "state", (60,), np.float32),
    ],
)
def test_a_box_is_an_image_or_a_vector(space: Any, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    world = GymEnvironment(Spaces(space), max_episode_steps=5)
    seen, _ = world.reset(seed=1)
    space.seed(1)
    assert (list(seen), seen[name].shape, seen[name].dtype) == ([name], shape, dtype)
    assert np.array_equal(seen[name], space.sample().astype(dtype).reshape(shape))


def test_actions_are_reshaped_and_clipped_in_the_precision_of_the_space() -> None:
    made = Spaces(
        spaces.Box(0, 1, (1,)), spaces.Box(np.array([[-0.1], [-np.inf]]), np.array([[0.1], [3.0]]), dtype=np.float64)
    )
    world = GymEnvironment(made, max_episode_steps=2)
    world.reset()
    for action, truncated in (([1, 2], False), ([-1, -7e5], True)):
        assert world.step(np.array(action, np.float32))[3] == truncated
    (first, second) = made.actions
    assert (first.shape, first.dtype) == ((2, 1), np.float64)
    assert np.array_equal(first, [[0.1], [2.0]])
    assert np.array_equal(second, [[-0.1], [-7e5]])
    assert all(made.action_space.contains(action) for action in made.actions)
    with refusal("an action of GymEnvironment is 2 finite numbers, not"):
        world.step(np.zeros(3, np.float32))


def play(score: str | None, expert: float = 0.5) -> tuple[list[float], str]:
    """Return the distances of an episode, and the score at its end."""
    world, distances, over = GymEnvironment(make_reach, score=score), [], False
    seen, _ = world.reset(seed=3)
    while not over:
        seen, _, terminated, truncated, info = world.step(-expert * seen["state"])
        distances.append(info["distance"])
        over = terminated or truncated
    return distances, world.metric(), world.metric_name  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("score", "name", "truth"),
    [
        (None, "return", lambda distances: -sum(distances)),
        ("return", "return", lambda distances: -sum(distances)),
        ("success", "success", lambda distances: 1.0),
        ("info:distance", "distance", lambda distances: distances[-1]),
        ("info:is_success", "is_success", lambda distances: 1.0),
    ],
)
def test_the_score_is_that_of_the_definition(
    score: str | None, name: str, truth: Callable[[list[float]], float]
) -> None:
    distances, found, called = play(score)  # type: ignore[misc]
    assert called == name
    assert found == pytest.approx(truth(distances))
    assert len(distances) < LIMIT


def test_success_is_0_where_the_task_was_not_solved() -> None:
    distances, found, _ = play("success", 0.0)  # type: ignore[misc]
    assert (len(distances), found) == (LIMIT, 0.0)


@pytest.mark.parametrize(
    ("score", "line"),
    [
        (
            "info:speed",
            "no info of Reach has speed in a whole episode: for the score, choose one of return, info:is_suc",
        ),
        ("info:note", r"info\['note'\] of Reach is str, not a number: choose another"),
    ],
)
def test_what_is_not_in_info_ends_a_rollout_and_not_only_an_episode(score: str, line: str) -> None:
    class Zero:
        decided = True
        reset = act = lambda self, *rest, **more: np.zeros(1, np.float32)  # type: ignore[misc]

    episode = RunningEpisode(Zero(), GymEnvironment(make_reach, score=score), 1, 0)
    with pytest.raises(ScoreError, match=line):
        [episode.advance() for _ in range(LIMIT)]
    without = Spaces(spaces.Box(0, 1, (1,)))
    world = GymEnvironment(without, score="success", max_episode_steps=1)
    world.reset()
    with refusal("no info of Spaces has is_success or success in a whole episode: for the score, use return"):
        world.step(np.zeros(1, np.float32))


def test_a_time_limit_is_found_or_set_or_a_warning_says_so() -> None:
    assert GymEnvironment(make_reach).max_episode_steps == LIMIT
    assert GymEnvironment(make_reach, max_episode_steps=3).max_episode_steps == 3
    own = Reach()
    own.max_episode_steps = 7  # type: ignore[attr-defined]
    assert GymEnvironment(own).max_episode_steps == 7
    with pytest.warns(UserWarning, match="Reach does not have a time limit: an episode ends after 1,000 frames at the"):
        assert GymEnvironment(Reach).max_episode_steps == 1000


@pytest.mark.parametrize(("rate", "fps"), [(None, 30), (12, 12), (0, 30), (0.2, 1), ("fast", 30)])
def test_the_frames_per_second_are_those_of_the_metadata(rate: Any, fps: int) -> None:
    world = GymEnvironment(Spaces(spaces.Box(0, 1, (1,)), render_fps=rate), max_episode_steps=1)
    assert world.render_fps == fps


def test_a_factory_of_the_users_own_is_found_with_its_source() -> None:
    world = open_environment(f"{MODULE}:make_reach", ["state"], score="success", max_episode_steps=9)
    assert isinstance(world, GymEnvironment)
    assert (world.metric_name, world.facts) == ("success", {"score": "success", "max_episode_steps": 9})
    digest = hashlib.sha256(Path(gym_worlds.__file__).read_bytes()).hexdigest()[:16]
    assert world.sources == {MODULE: f"sha256 {digest}"}
    world.reset(seed=0)
    assert world.render().shape == (20, 30, 3)  # it was made for pictures


def test_a_factory_may_return_an_environment_of_our_own_kind() -> None:
    world = open_environment(f"{MODULE}:make_walk", ["state"])
    assert isinstance(world, Walk)
    assert world.observations == ("state",)
    assert "helpers.worlds" in world.sources
    assert Walk.sources == {}
    with refusal("make_walk has its own score and time limit: leave --score out"):
        open_environment(f"{MODULE}:make_walk", score="success")
    with refusal("car-racing has its own score and time limit: leave --max-episode-steps out"):
        open_environment("car-racing", max_episode_steps=3)


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that registers an id."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_robot.py").write_text(
        "import gymnasium\nfrom helpers.gym_worlds import *\n"
        "gymnasium.register('own/Reach-v3', 'helpers.gym_worlds:Reach', max_episode_steps=8)\n"
    )
    world = open_environment("own_robot:own/Reach-v3", ["state"])
    assert (world.max_episode_steps, set(world.sources)) == (8, {"own_robot", MODULE})
    assert open_environment("own_robot:make_reach").max_episode_steps == LIMIT
    assert is_known("own/Reach-v3")


WRONG = {
    "unknown": ("moon", "there is no environment 'moon': choose one of car-racing, .*, an id of Gymnasium, or MOD"),
    "an id without its version": ("Pendulum", "there is no environment 'Pendulum': did you mean Pendulum-v1"),
    "ours misspelt": ("car_racing", "there is no environment 'car_racing': did you mean car-racing"),
    "discrete actions": ("CartPole-v1", r"an action of CartPole-v1 is Discrete\(2\), and a policy's actions are con"),
    "no module": (
        "no_such:make",
        "the module 'no_such' of the environment no_such:make does not exist: run the command",
    ),
    "no module in a package": ("helpers.no_such:make", "the module 'helpers.no_such' of the environment"),
    "a path": ("envs/reach.py:make", "environment 'envs/reach.py:make' is not MODULE:FACTORY as Python imports it"),
    "nothing before": (":make", "environment ':make' is not MODULE:FACTORY"),
    "nothing after": (f"{MODULE}:", f"{MODULE} does not have '': choose one of"),
    "misspelt": (
        f"{MODULE}:make_reech",
        f"{MODULE} does not have 'make_reech': did you mean make_reach. choose one of",
    ),
    "a number": (f"{MODULE}:NOT_A_FACTORY", f"{MODULE}:NOT_A_FACTORY is int, not a function or class that"),
    "an object": (f"{MODULE}:no_environment", "no_environment is builtins.object, not a gymnasium.Env: return one"),
    "a failure": (f"{MODULE}:failing", f"{MODULE}:failing fails: RuntimeError: no robot$"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_names_are_refused(name: str) -> None:
    given, line = WRONG[name]
    with refusal(line):
        open_environment(given)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import no_such_package", "broken_robot cannot be imported, .*: No module named 'no_such_package'"),
        (
            "1 / 0",
            "broken_robot cannot be imported, for the environment broken_robot:make: ZeroDivisionError: division",
        ),
        ("def", "broken_robot cannot be imported, .*: SyntaxError"),
        ("", "broken_robot does not have 'make': write a function that returns the environment"),
    ],
)
def test_a_module_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: str) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_robot", raising=False)
    (tmp_path / "broken_robot.py").write_text(text)
    with refusal(line):
        open_environment("broken_robot:make")


BOX = spaces.Box(0, 1, (1,))


def without_spaces() -> gymnasium.Env:
    class Bare(gymnasium.Env):
        pass

    return Bare()


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: Spaces(spaces.Discrete(5)),
            r"Spaces has the observation space Discrete\(5\), and a policy sees a Box",
        ),
        (lambda: Spaces(spaces.Dict({"a": spaces.Text(3)})), "Spaces has the observation space Dict"),
        (lambda: Spaces(spaces.Dict({"a": spaces.Dict({"b": BOX}), "a_b": BOX})), "two observations .* called a_b"),
        (lambda: Spaces(BOX, spaces.Box(0, 9, (2,), np.int64)), r"an action of Spaces is Box\(0, 9, \(2,\), int64\)"),
        (lambda: Spaces(BOX, spaces.MultiDiscrete([2, 3])), "an action of Spaces is MultiDiscrete"),
        (lambda: without_spaces(), "Bare has the observation space None, and a policy sees a Box"),
    ],
)
def test_spaces_that_a_policy_cannot_use_are_refused(make: Callable[[], Any], line: str) -> None:
    with refusal(line):
        GymEnvironment(make, max_episode_steps=3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"score": "reward"}, "score must be return, success, or info:KEY, not 'reward'"),
        ({"score": "info:"}, "score must be return, success, or info:KEY, not 'info:'"),
        ({"max_episode_steps": 0}, "max-episode-steps must be at least 1, not 0"),
        ({"observations": ["sound"]}, "GymEnvironment does not offer 'sound': choose from camera_top, state"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], line: str) -> None:
    with refusal(line):
        GymEnvironment(make_reach, **options)


def test_an_environment_that_breaks_its_word_is_named() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = GymEnvironment(gym_worlds.LyingReach, ["state"])
    with refusal(r"state of LyingReach is \[3\], and \[1\] in its observation space: correct its code"):
        world.reset()
    world.observations = ("camera_top",)
    with refusal("LyingReach returned no camera_top, which its observation space has: correct its code"):
        world.reset()


def test_without_gymnasium_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "gymnasium" and not (len(rest) > 3 and rest[3]):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with refusal("there is no environment 'Pendulum-v1': choose .* pip install 'shortcut-models.gymnasium.'"):
        open_environment("Pendulum-v1")
    with refusal("needs an extra: pip install 'shortcut-models.gymnasium.'"):
        GymEnvironment(make_reach)


def test_an_environment_without_pictures_says_so() -> None:
    world = open_environment(f"{MODULE}:blind_reach")
    world.reset()
    with refusal("blind_reach does not draw pictures: leave the video out, or make it with render_mode='rgb_array'"):
        world.render()
    bare = GymEnvironment(Spaces(BOX), max_episode_steps=1)  # whose `render` is that of the base class
    with refusal(r"Spaces cannot draw a picture \(.*\): leave the video out"):
        bare.render()
