"""`shortcut rollout`, `race` and `plot-chunks` of a policy that learned from one's own demonstrations."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.gym_worlds import LIMIT, demonstrate_reach, make_reach
from helpers.runs import NETWORK, Outcome, assert_refused, shortcut
from shortcut_models.policies.episode import play
from shortcut_models.policies.policy import Policy
from shortcut_models.policies.rollout import PolicyRun

pytestmark = [pytest.mark.multiprocess, pytest.mark.needs_extra]

REACH = "helpers.gym_worlds:make_reach"
TRAIN = (
    "train", "imitation", *NETWORK, "--batch-size", 16, "--warmup", 1, "--train-steps", 5, "--device", "cpu",
    "--task.history", 2, "--task.chunk", 4, "--task.execute", 2, "--precision", "fp32", "--side-share", 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Outcome]]:
    place = tmp_path_factory.mktemp("place")
    demonstrate_reach(place / "demos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place, shortcut(*TRAIN, "--data", "demos", "--run", "mine")


@pytest.fixture
def place(trained: tuple[Path, Outcome]) -> Path:
    return trained[0]


def advised(said: str) -> list[str]:
    """Return the commands in backticks."""
    return [part.removeprefix("shortcut ") for part in said.split("`")[1::2]]


def test_the_advice_after_a_training_works(trained: tuple[Path, Outcome]) -> None:
    place, outcome = trained
    assert outcome.code == 0, outcome.err
    draw, evaluate, judge = advised(outcome.out.splitlines()[-1])
    assert shortcut(*shlex.split(draw)).code == 0
    with Image.open(place / "chunks.png") as picture:
        assert picture.size[0] > 100
    assert shortcut(*shlex.split(evaluate), "--num", 8).code == 0
    assert judge == "rollout mine --environment ENV"
    done = shortcut(*shlex.split(judge.replace("ENV", REACH)), "--episodes", 2)
    assert done.code == 0, done.err


def test_demonstrations_that_name_the_environment_need_no_option(place: Path) -> None:
    demonstrate_reach(place / "named", environment=REACH)
    outcome = shortcut(*TRAIN, "--data", "named", "--run", "aware")
    assert "try `shortcut rollout aware --steps 1 4` or" in outcome.out
    done = shortcut(*shlex.split(advised(outcome.out.splitlines()[-1])[0]), "--episodes", 2)
    assert done.code == 0, done.err
    assert f"in {REACH}, 2 actions a decision" in done.out
    ways = "evaluate it with `shortcut rollout aware`, or watch it with `shortcut race aware`"
    assert_refused("sample aware --out a.npz", ways, unchanged=place)


def rollout(place: Path, *words: object) -> dict[str, Any]:
    done = shortcut("rollout", "mine", "--environment", REACH, "--json", place / "table.json", *words)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads((place / "table.json").read_text())
    return found


def by_loop(place: Path, seed: int, score: str) -> tuple[float, int]:
    """Return score and frames of an episode, played without the package's environment."""
    policy, world = Policy.load(place / "mine"), make_reach()
    policy.reset(seed=seed)
    observation, _ = world.reset(seed=seed)
    total, solved, over, frames = 0.0, False, False, 0
    while not over:
        action = np.clip(policy.act({"state": observation["state"].astype(np.float32)}), -0.5, 0.5)
        observation, reward, terminated, truncated, info = world.step(action)
        total, solved, frames = total + reward, solved or info["is_success"], frames + 1
        over = terminated or truncated
    return {"return": total, "success": float(solved), "info:distance": info["distance"]}[score], frames


def test_scores_are_those_of_a_loop_over_the_environment(place: Path) -> None:
    shutil.rmtree(place / "mine" / "rollouts", ignore_errors=True)
    found = rollout(place, "--episodes", 2, "--seed", 50)
    assert (found["measure"], found["score"], found["max_episode_steps"]) == ("return", "return", LIMIT)
    for one in found["episodes"]:
        assert (one["score"], one["frames"]) == pytest.approx(by_loop(place, one["seed"], "return"), rel=1e-5)
    assert found["versions"].keys() >= {"gymnasium", "helpers.gym_worlds"}
    (folder,) = (place / "mine" / "rollouts").iterdir()
    assert folder.name.startswith("helpers.gym_worlds-make_reach-")
    assert rollout(place, "--episodes", 3, "--seed", 50)["episodes"][:2] == found["episodes"]
    assert list((place / "mine" / "rollouts").iterdir()) == [folder]


@pytest.mark.parametrize("score", ["success", "info:distance"])
def test_other_scores_are_those_of_a_loop(place: Path, score: str) -> None:
    run = PolicyRun.open(place / "mine", environment=REACH, score=score)
    one = play(run.factory.policy(), run.factory.environment(), 1, 7)
    assert (one.score, one.frames) == pytest.approx(by_loop(place, 7, score), rel=1e-5)


def test_episodes_are_counted_together_only_where_they_were_played_and_scored_alike(place: Path) -> None:
    folder = lambda **options: PolicyRun.open(place / "mine", environment=REACH, **options).records.folder
    others = [{"score": "success"}, {"max_episode_steps": 3}, {"ensemble": 0.01}, {"ensemble": 0.02}, {"execute": 1}]
    assert len({folder(), *(folder(**options) for options in others)}) == 6
    assert folder(score="return") == folder(max_episode_steps=LIMIT) == folder()


def test_a_limit_and_an_ensemble_are_those_of_the_options(place: Path) -> None:
    found = rollout(place, "--episodes", 1, "--max-episode-steps", 3, "--ensemble", 0.5, "--seed", 60)
    (one,) = found["episodes"]
    assert (one["frames"], one["decisions"], one["ended"], found["ensemble"]) == (3, 3, "time limit", 0.5)
    policy, world = Policy.load(place / "mine", ensemble=0.5), make_reach()
    policy.reset(seed=60)
    observation, _ = world.reset(seed=60)
    total = 0.0
    for _ in range(3):
        action = policy.act({"state": observation["state"].astype(np.float32)})
        observation, reward, *_ = world.step(np.clip(action, -0.5, 0.5))
        total += reward
    assert one["score"] == pytest.approx(total, rel=1e-5)
    assert LIMIT > 3


def test_a_race_in_ones_own_environment(place: Path) -> None:
    words = ("race", "mine", "--environment", REACH, "--steps", 1, 4, "--video", "race.gif", "--ensemble", 0.1)
    outcome = shortcut(*words)
    assert outcome.code == 0, outcome.err
    assert "shortcut, 1 step: return -" in outcome.out
    assert (place / "race.gif").exists()


WORLD = "helpers.gym_worlds"
WRONG = {
    "no environment": (
        "rollout mine",
        "the demonstrations of mine do not name their environment: pass --environment with one of ours, an id of Gym",
    ),
    "unknown": ("rollout mine --environment Pendulumm-v1", "there is no environment 'Pendulumm-v1': did you mean Pend"),
    "no module": (
        "race mine --environment robot:make --video a.gif",
        "the module 'robot' of the environment",
    ),
    "other actions": (
        f"rollout mine --environment {WORLD}:WideReach",
        "an action of mine has size 1, and one of helpers",
    ),
    "other state": (
        f"rollout mine --environment {WORLD}:LongReach",
        "mine does not fit helpers.gym_worlds:LongReach: state is float32 [2, 2]",
    ),
    "no state": ("rollout mine --environment MODULE:Blind", "the module 'MODULE' of the environment"),
    "discrete": ("rollout mine --environment CartPole-v1", "an action of CartPole-v1 is Discrete(2), and a policy's"),
    "score": (
        f"rollout mine --environment {REACH} --score reward",
        "score must be return, success, or info:KEY, not 're",
    ),
    "limit": (f"rollout mine --environment {REACH} --max-episode-steps 0", "--max-episode-steps must be >= 1, not 0"),
    "ensemble": (f"rollout mine --environment {REACH} --ensemble nan", "--ensemble must be a number or none, not nan"),
    "both": (f"rollout mine --environment {REACH} --ensemble 1 --execute 2", "leave execute out, which is 2"),
    "no pictures": (
        f"rollout mine --environment {WORLD}:blind_reach --video a.gif",
        "does not draw pictures: leave the",
    ),
    "no pictures of a race": (f"race mine --environment {WORLD}:blind_reach --video a.gif", "does not draw pictures"),
    "ours": ("rollout mine --environment car-racing --score success", "car-racing has its own score and time limit"),
    "not a picture": ("plot-chunks mine --out a.jpg", "the name of a.jpg must end in .png"),
    "no episode": (
        "plot-chunks mine --out a.png --episode 4",
        "episode 4 does not exist in demos: choose one from 0 to 3",
    ),
    "no data": ("plot-chunks mine --out a.png --data nowhere", "nowhere: this does not exist: use"),
    "steps": ("plot-chunks mine --out a.png --steps 300", "--steps must be whole numbers from 1 to 128, not 300"),
    "sample": (
        "sample mine --out a.npz",
        "its samples are actions: draw them with `shortcut plot-chunks mine`, or judge",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRONG)
def test_refusals(place: Path, name: str) -> None:
    shutil.rmtree(place / "mine" / "rollouts", ignore_errors=True)
    words, message = WRONG[name]
    assert_refused(words, message, unchanged=place)


def test_a_score_that_no_episode_has_ends_the_rollout(place: Path) -> None:
    outcome = shortcut("rollout", "mine", "--environment", REACH, "--score", "info:speed", "--episodes", 3)
    assert outcome.code == 2
    assert "has speed in a whole episode: for the score, choose one of return, info:is_s" in outcome.complaint
