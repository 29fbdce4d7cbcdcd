"""`shortcut collect --policy`: the policy acts, and what the expert wants is recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import shortcut_models
from helpers import worlds as robots
from helpers.runs import shortcut, train
from shortcut_models.data.demonstrations import native as own
from shortcut_models.policies import environments, experts, rollout
from shortcut_models.policies.collect import Pupil, drive
from shortcut_models.policies.environments import Environment, Observation
from shortcut_models.policies.experts import Expert


class Short(robots.Walk):
    """A walk that is over after 25 frames."""

    def step(self, action: np.ndarray) -> tuple[Observation, bool]:
        seen, over = super().step(action)
        return seen, over or self.frame == self.max_frames


class Wide(Short):
    """A walk that is seen twice over."""

    def reset(self, seed: int) -> Observation:
        return {"state": np.repeat(super().reset(seed)["state"], 2)}


class Knows(Expert):
    """Wants a tenth of the way that is left."""

    def begin(self, environment: Environment) -> None:
        return

    def act(self, observation: Observation) -> np.ndarray:
        return np.clip((1 - observation["state"]) / 10, -0.2, 0.2).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(robots.WORLDS, "walk", Short)
        patch.setitem(robots.WORLDS, "wide", Wide)
        patch.setattr(rollout, "open_environment", robots.open_environment)
        patch.setattr(environments, "open_environment", lambda name: robots.WORLDS[name]())
        patch.setattr(experts, "open_expert", lambda name, human: Knows())
        patch.chdir(place)
        robots.demonstrate(place / "demos")
        robots.train_policy(place / "policy", Path("demos"))
        robots.train_policy(place / "other", Path("demos"), 1)
        train(place / "digits")
        yield place


def test_the_policy_acts_and_the_expert_says_what_it_wants() -> None:
    episode = drive(Short(), Knows(), 7, pupil=Pupil("walker", robots.Walker(), steps=3))
    states = episode.observations["state"][:, 0]
    np.testing.assert_array_equal(episode.actions, np.clip((1 - episode.observations["state"]) / 10, -0.2, 0.2))
    place = float(np.random.default_rng(7).uniform(-1, 0))
    for frame, state in enumerate(states):
        assert state == pytest.approx(place, abs=1e-6)
        place += np.random.default_rng([7, frame // 4]).uniform(0.02, 0.08) + 0.003
    assert episode.score == pytest.approx(100 * (place - 1), abs=1e-4)


def test_the_expert_takes_over_where_the_policy_is_lost() -> None:
    class Watches(Knows):
        """Takes over between -0.5 and 0."""

        def act(self, observation: Observation) -> np.ndarray:
            self.lost = -0.5 < observation["state"][0] < 0
            return super().act(observation)

        def takes_over(self) -> bool:
            return bool(self.lost)

    walker = robots.Walker()
    episode = drive(Short(), Watches(), 7, pupil=Pupil("walker", walker))
    states, moves = episode.observations["state"][:-1, 0], np.diff(episode.observations["state"][:, 0])
    lost = (states > -0.5) & (states < 0)
    speeds = [np.random.default_rng([7, frame // 4]).uniform(0.02, 0.08) + 0.001 for frame in range(len(states))]
    assert 0 < lost.sum() < len(lost)
    np.testing.assert_allclose(moves, np.where(lost, episode.actions[:-1, 0], speeds), atol=1e-6)
    assert walker.frames == len(episode.actions)  # it has seen them all


def test_noise_is_added_to_what_the_policy_wants() -> None:
    still, shaken = (drive(Short(), Knows(), 7, noise, Pupil("walker", robots.Walker())) for noise in (0.0, 0.5))
    before, after = (np.diff(episode.observations["state"][:, 0]) for episode in (still, shaken))
    assert before.std() < 0.03 < after.std()


def test_what_it_writes_is_what_that_policy_led_to(place: Path) -> None:
    words = ("collect", "walk", "--episodes", 2, "--policy", "policy", "--out", "shown", "--steps", 4, "--execute", 3)
    done = shortcut(*words)
    assert done.code == 0, done.err
    policy = shortcut_models.load(place / "policy")
    with np.load("shown/episode_00000001.npz") as held:
        states, wanted = held["observation.state"], held["action"]
    world, policy.execute = Short(), 3
    seen = world.reset(1)
    policy.reset(seed=1)
    for state, action in zip(states, wanted, strict=True):
        np.testing.assert_array_equal(seen["state"], state)
        np.testing.assert_array_equal(Knows().act(seen), action)
        seen, _ = world.step(policy.act(seen, steps=4))
    header = json.loads(Path("shown/demonstrations.json").read_text())
    said = r"policy of training step 20 \(weights [0-9a-f]{8}\) with --steps 4 --execute 3"
    assert re.fullmatch(said, header["expert"]["policy"])
    assert sorted(own.read_scores(Path("shown"))) == [0, 1]
    more = shortcut("collect", "walk", "--episodes", 3, *words[4:])
    assert more.code == 0, more.err
    assert more.out.splitlines()[:2] == done.out.splitlines()[:2]


def test_a_folder_from_before_there_were_policies_goes_on(place: Path) -> None:
    assert shortcut("collect", "walk", "--episodes", 1, "--out", "old").code == 0
    file = Path("old/demonstrations.json")
    header = json.loads(file.read_text())
    assert header["expert"].pop("policy") == ""
    file.write_text(json.dumps(header))
    assert shortcut("collect", "walk", "--episodes", 2, "--out", "old").code == 0


def test_demonstrations_of_somebody_else_are_not_added_to(place: Path) -> None:
    own.begin(Path("theirs"), "walk", {"by": "a colleague"})
    done = shortcut("collect", "walk", "--episodes", 1, "--out", "theirs")
    assert done.code == 2
    assert "theirs holds demonstrations that `shortcut collect` has not begun: give another folder" in done.complaint
    assert not own.episode_files(Path("theirs"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--policy nowhere", "nowhere does not exist"),
        ("--policy digits", "digits is no policy, as it did not learn from demonstrations"),
        ("--policy policy --human", "--human and --policy exclude each other: choose one"),
        ("--policy policy --steps 17", "--steps must be whole numbers from 1 to 16, not 17"),
        ("--policy policy --execute 5", "execute must be from 1 to 4, the actions of a chunk, not 5"),
        ("--steps 4", "--steps is an option of a policy: pass --policy RUN too"),
        ("--execute 2", "--execute is an option of a policy: pass --policy RUN too"),
    ],
)
def test_mistakes(place: Path, words: str, expected: str) -> None:
    done = shortcut("collect", "walk", "--episodes", 1, "--out", "new", *words.split())
    assert done.code == 2
    assert expected in done.complaint
    assert not Path("new").exists()


def test_another_policy_does_not_go_on_with_a_folder(place: Path) -> None:
    words = ("collect", "walk", "--episodes", 1, "--out", "of-one", "--policy")
    assert shortcut(*words, "policy").code == 0
    for changed in (("other",), ("policy", "--steps", 2), ("policy", "--execute", 1)):
        done = shortcut(*words, *changed)
        assert done.code == 2
        assert "of-one was begun with policy policy of training step 20 (weights " in done.complaint
    done = shortcut(*words[:-1])
    assert done.code == 2
    assert "not none: use the same options to go on" in done.complaint


def test_a_policy_of_another_world_is_refused(place: Path) -> None:
    for world, expected in (
        ("plane", "an action of policy has size 1, and one of plane size 2: give another environment"),
        ("blind", "policy sees state, which blind does not show: give another environment"),
        ("wide", "state is float32 [2, 2] for each, and must be as in the demonstrations: numbers [2, 1]"),
    ):
        done = shortcut("collect", world, "--episodes", 1, "--out", "new", "--policy", "policy")
        assert done.code == 2
        assert expected in done.complaint
    assert not Path("new").exists()
