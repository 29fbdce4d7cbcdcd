"""`shortcut collect --policy`: the policy acts, and the expert's actions are recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import worlds
from helpers.runs import assert_refused, shortcut, train
from helpers.worlds import Walk, Walker, WalkExpert
from shortcut_models import Policy
from shortcut_models.data.demonstrations import native
from shortcut_models.policies import environments, experts, rollout
from shortcut_models.policies.collect import Learner, record_episode
from shortcut_models.policies.environments import Observation


class Wide(Walk):
    """A walk whose observation has its number twice."""

    def _observe(self) -> Observation:
        return {"state": np.repeat(super()._observe()["state"], 2)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(worlds.WORLDS, "wide", Wide)
        patch.setattr(rollout, "open_environment", worlds.open_environment)
        patch.setattr(environments, "open_environment", lambda name: worlds.WORLDS[name]())
        patch.setattr(experts, "open_expert", lambda name, human: WalkExpert())
        patch.chdir(place)
        worlds.demonstrate(place / "demos")
        worlds.train_policy(place / "policy", Path("demos"))
        worlds.train_policy(place / "other", Path("demos"), 1)
        train(place / "digits")
        yield place


def test_the_policy_acts_and_the_expert_is_recorded() -> None:
    episode = record_episode(Walk(), WalkExpert(), 7, learner=Learner("walker", Walker(), steps=3))
    states = episode.observations["state"][:, 0]
    np.testing.assert_array_equal(episode.actions, np.clip((1 - episode.observations["state"]) / 10, -0.2, 0.2))
    place = float(np.random.default_rng(7).uniform(-1, 0))
    for frame, state in enumerate(states):
        assert state == pytest.approx(place, abs=1e-6)
        place += np.random.default_rng([7, frame // 4]).uniform(0.02, 0.08) + 0.003
    assert episode.score == pytest.approx(100 * (place - 1), abs=1e-4)


def test_the_expert_takes_over_where_the_policy_is_lost() -> None:
    class Watches(WalkExpert):
        """Takes over between -0.5 and 0."""

        def act(self, observation: Observation) -> np.ndarray:
            self.lost = -0.5 < observation["state"][0] < 0
            return super().act(observation)

        def takes_over(self) -> bool:
            return bool(self.lost)

    walker = Walker()
    episode = record_episode(Walk(), Watches(), 7, learner=Learner("walker", walker))
    states, moves = episode.observations["state"][:-1, 0], np.diff(episode.observations["state"][:, 0])
    lost = (states > -0.5) & (states < 0)
    speeds = [np.random.default_rng([7, frame // 4]).uniform(0.02, 0.08) + 0.001 for frame in range(len(states))]
    assert 0 < lost.sum() < len(lost)
    np.testing.assert_allclose(moves, np.where(lost, episode.actions[:-1, 0], speeds), atol=1e-6)
    assert walker.frames == len(episode.actions)  # it got every observation


def test_noise_is_added_to_the_actions_of_the_policy() -> None:
    still, noisy = (record_episode(Walk(), WalkExpert(), 7, noise, Learner("walker", Walker())) for noise in (0.0, 0.5))
    before, after = (np.diff(episode.observations["state"][:, 0]) for episode in (still, noisy))
    assert before.std() < 0.03 < after.std()


def test_the_recorded_states_are_those_of_the_policy(place: Path) -> None:
    words = ("collect", "walk", "--episodes", 2, "--policy", "policy", "--out", "shown", "--steps", 4, "--execute", 3)
    done = shortcut(*words)
    assert done.code == 0, done.err
    policy = Policy.load(place / "policy", execute=3)
    with np.load("shown/episode_00000001.npz") as held:
        states, wanted = held["observation.state"], held["action"]
    world = Walk()
    observation, _ = world.reset(seed=1)
    policy.reset(seed=1)
    for state, action in zip(states, wanted, strict=True):
        np.testing.assert_array_equal(observation["state"], state)
        np.testing.assert_array_equal(WalkExpert().act(observation), action)
        observation, *_ = world.step(policy.act(observation, steps=4))
    header = json.loads(Path("shown/demonstrations.json").read_text())
    said = r"policy of training step 20 \(weights [0-9a-f]{8}\) with --steps 4 --execute 3"
    assert re.fullmatch(said, header["expert"]["policy"])
    assert sorted(native.read_scores(Path("shown"))) == [0, 1]
    more = shortcut("collect", "walk", "--episodes", 3, *words[4:])
    assert more.code == 0, more.err
    assert more.out.splitlines()[:2] == done.out.splitlines()[:2]


def test_a_folder_from_before_there_were_policies_continues(place: Path) -> None:
    assert shortcut("collect", "walk", "--episodes", 1, "--out", "old").code == 0
    file = Path("old/demonstrations.json")
    header = json.loads(file.read_text())
    assert header["expert"].pop("policy") == ""
    file.write_text(json.dumps(header))
    assert shortcut("collect", "walk", "--episodes", 2, "--out", "old").code == 0


def test_demonstrations_of_other_programs_are_not_added_to(place: Path) -> None:
    native.prepare_folder(Path("theirs"), "walk", {"by": "a colleague"})
    line = "theirs holds demonstrations that `shortcut collect` did not write: choose another --out"
    assert_refused("collect walk --episodes 1 --out theirs", line, unchanged=place)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--policy nowhere", "nowhere does not exist"),
        ("--policy digits", "digits: not a policy, as it was not trained on demonstrations"),
        ("--policy policy --human", "--human and --policy exclude each other: choose one"),
        ("--policy policy --steps 17", "--steps must be whole numbers from 1 to 16, not 17"),
        ("--policy policy --execute 5", "execute must be from 1 to 4, the actions of a chunk, not 5"),
        ("--steps 4", "--steps is an option of a policy: pass --policy RUN too"),
        ("--execute 2", "--execute is an option of a policy: pass --policy RUN too"),
    ],
)
def test_wrong_policies_are_refused(place: Path, words: str, expected: str) -> None:
    assert_refused(f"collect walk --episodes 1 --out new {words}", expected, unchanged=place)


def test_another_policy_does_not_continue_a_folder(place: Path) -> None:
    words = ("collect", "walk", "--episodes", 1, "--out", "of-one", "--policy")
    assert shortcut(*words, "policy").code == 0
    for changed in (("other",), ("policy", "--steps", 2), ("policy", "--execute", 1)):
        done = shortcut(*words, *changed)
        assert done.code == 2
        assert "of-one was started with policy policy of training step 20 (weights " in done.complaint
    done = shortcut(*words[:-1])
    assert done.code == 2
    assert "not none: use the same options to continue" in done.complaint


def test_a_policy_of_another_environment_is_refused(place: Path) -> None:
    for world, expected in (
        ("plane", "an action of policy has size 1, and one of plane size 2: choose another environment"),
        ("blind", "policy needs state, which blind does not offer: choose another environment"),
        ("wide", "state is float32 [2, 2] for each, and must be as in the demonstrations: numbers [2, 1]"),
    ):
        assert_refused(f"collect {world} --episodes 1 --out new --policy policy", expected, unchanged=place)
