"""`shortcut collect`: what it writes, that it goes on where it was stopped, and what it says to mistakes."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.runs import shortcut
from shortcut_models.errors import UserError
from shortcut_models.policies.collect import Settings, blunders, collect, correlated_noise, drive
from shortcut_models.policies.environments import CarRacing, Environment, Observation
from shortcut_models.policies.experts import Expert

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra `car-racing`")


class Line(Environment):
    """A point that is to be kept at 0; the score is that of the seed, less how far it went."""

    sees, measure, max_frames, frames_per_second = ("state",), "return", 12, 10
    low, high = -np.ones(1, np.float32), np.ones(1, np.float32)

    def reset(self, seed: int) -> Observation:
        self.seed, self.frames, self.at, self.far = seed, 0, np.zeros(1, np.float32), 0.0
        return {"state": self.at}

    def step(self, action: np.ndarray) -> tuple[Observation, bool]:
        assert (np.abs(action) <= 1).all()
        self.frames, self.at = self.frames + 1, (self.at + action).astype(np.float32)
        self.far += abs(float(self.at[0]))
        return {"state": self.at}, self.frames == 12

    def score(self) -> float:
        return self.seed % 4 - self.far

    def picture(self) -> np.ndarray:
        return np.zeros((2, 2, 3), np.uint8)


class Back(Expert):
    """Goes back to 0; `driven` counts its episodes."""

    driven = 0

    def begin(self, environment: Environment) -> None:
        self.driven += 1

    def act(self, observation: Observation) -> np.ndarray:
        return np.clip(-observation["state"], -1, 1)


def fill(out: Path, episodes: int, expert: Expert, **settings: Any) -> tuple[list[float], list[str]]:
    said: list[str] = []
    return collect("line", Line(), expert, out, episodes, Settings("expert", **settings), said.append), said


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laps that end after 12 frames."""
    monkeypatch.setattr(CarRacing, "max_frames", 12)


@pytest.mark.usefixtures("short")
def test_an_episode_from_end_to_end(tmp_path: Path) -> None:
    done = shortcut("collect", "car-racing", "--episodes", 1, "--seed", 7, "--out", tmp_path / "demos")
    assert done.code == 0, done.err
    with np.load(tmp_path / "demos" / "episode_00000007.npz") as episode:
        assert episode["observation.image"].shape == (12, 96, 96, 3)
        assert episode["observation.image"].dtype == np.uint8
        assert episode["action"].shape == (12, 3)
        assert episode["action"].dtype == np.float32
        assert int(episode["seed"]) == 7
        score = float(episode["return"])
    assert done.out.splitlines() == [f"seed 7: return {score:.1f}", f"mean return {score:.1f} over 1 episodes"]
    header = json.loads((tmp_path / "demos" / "demonstrations.json").read_text())
    assert (header["format"], header["environment"]) == (1, "car-racing")
    assert header["expert"] == {
        "driver": "expert",
        "seed": 7,
        "noise": 0.0,
        "blunders": 0.0,
        "min_return": None,
        "policy": "",
    }


@pytest.mark.usefixtures("short")
def test_the_recorded_action_belongs_to_the_frame_beside_it() -> None:
    environment = CarRacing()
    environment.reset(7)

    class Says(Back):
        def act(self, observation: Observation) -> np.ndarray:
            return np.array([0, environment.frames / 100, 0], np.float32)

    episode = drive(environment, Says(), 7)
    np.testing.assert_allclose(episode.actions[:, 1] * 100, np.arange(12), atol=1e-5)
    image = environment.reset(7)["image"]
    for frame in range(12):
        np.testing.assert_array_equal(episode.observations["image"][frame], image)
        image = environment.step(episode.actions[frame])[0]["image"]


def test_a_collection_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    class Stops(Back):
        def act(self, observation: Observation) -> np.ndarray:
            if self.driven == 3:
                raise KeyboardInterrupt
            return super().act(observation)

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, 5, Stops())
    assert sorted(os.listdir(tmp_path)) == ["demonstrations.json", "episode_00000000.npz", "episode_00000001.npz"]
    before = (tmp_path / "episode_00000001.npz").stat().st_mtime_ns
    expert = Back()
    scores, said = fill(tmp_path, 5, expert)
    assert scores == [0, 1, 2, 3, 0]
    assert expert.driven == 3
    assert len(said) == 5
    assert (tmp_path / "episode_00000001.npz").stat().st_mtime_ns == before
    assert fill(tmp_path, 6, Back())[0] == [0, 1, 2, 3, 0, 1]  # more of the same


def test_low_returns_are_dropped_counted_and_not_driven_again(tmp_path: Path) -> None:
    expert = Back()
    scores, said = fill(tmp_path, 3, expert, min_return=2.0)
    assert scores == [2, 3, 2]
    assert expert.driven == 7
    assert said[0] == "seed 0: return 0.0, dropped: less than 2"
    assert said[-1] == "4 episodes dropped, 3 kept"
    again = Back()
    assert fill(tmp_path, 3, again, min_return=2.0) == (scores, said)
    assert again.driven == 0
    with pytest.raises(UserError, match="20 episodes in a row scored less than 99: ask for less, in another folder"):
        fill(tmp_path / "new", 1, Back(), min_return=99.0)


def test_noise_is_carried_out_and_what_the_expert_wants_is_recorded() -> None:
    still = drive(Line(), Back(), 3)
    assert (still.actions == 0).all()
    shaken = drive(Line(), Back(), 3, noise=0.2)
    np.testing.assert_array_equal(shaken.actions, np.clip(-shaken.observations["state"], -1, 1))
    assert 0.05 < np.abs(np.diff(shaken.observations["state"], axis=0)).max() < 1


def test_noise_has_the_deviation_and_memory_it_should() -> None:
    made = correlated_noise(np.array([1.0, 0.3]), 5)
    noise = np.array([next(made) for _ in range(60000)])
    np.testing.assert_array_equal(noise[0], 0)
    np.testing.assert_allclose(noise.std(0), [1, 0.3], rtol=0.05)
    later = [np.corrcoef(noise[lag:, 0], noise[:-lag, 0])[0, 1] for lag in (1, 10, 20)]
    np.testing.assert_allclose(later, np.exp([-0.1, -1, -2]), atol=0.05)


def test_blunders_are_carried_out_and_what_the_expert_wants_is_recorded() -> None:
    expert, environment = Back(), Line()
    made = blunders(expert, environment, 20.0, 5)
    found = [next(made) for _ in range(40000)]
    lengths = [len(list(run)) for held, run in itertools.groupby(found, key=lambda one: one is not None) if held]
    assert min(lengths) >= 10
    assert max(lengths) < 90  # two that follow each other at once, at most
    assert len(lengths) == pytest.approx(40000 / (50 + 25), rel=0.1)
    assert np.mean(lengths) == pytest.approx(25, rel=0.1)
    none = blunders(expert, environment, 0.0, 5)
    assert all(next(none) is None for _ in range(1000))
    episode = drive(environment, expert, 3, often=900.0)
    wanted = np.clip(-episode.observations["state"], -1, 1)
    np.testing.assert_array_equal(episode.actions, wanted)
    moved = np.diff(episode.observations["state"], axis=0)
    assert (moved != wanted[:-1]).any()


COMMAND = "collect car-racing --episodes 1 --out new"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("collect", "ENVIRONMENT, --episodes and --out are missing"),
        ("collect car-racing --episodes 1", "--out is missing"),
        ("collect car-race --episodes 1 --out new", "there is no environment 'car-race': did you mean car-racing?"),
        (f"{COMMAND} --episodes 0", "--episodes must be >= 1, not 0"),
        (f"{COMMAND} --episodes many", "--episodes must be a whole number, not 'many'"),
        (f"{COMMAND} --seed -1", "--seed must be >= 0, not -1"),
        (f"{COMMAND} --noise 1.5", "--noise must be <= 1, not 1.5"),
        (f"{COMMAND} --noise nan", "--noise must be a number, not nan"),
        (f"{COMMAND} --blunders -1", "--blunders must be >= 0, not -1.0"),
        (f"{COMMAND} --blunders nan", "--blunders must be a number, not nan"),
        (f"{COMMAND} --human --blunders 3", "--blunders are for an expert: leave it out, or --human"),
        (f"{COMMAND} --min-return nan", "--min-return must be a number or none, not nan"),
        (f"{COMMAND} --human", "--human needs a screen, and there is none: leave it out, and the expert drives"),
        ("collect car-racing --episodes 1 --out full", "full is not empty and holds no demonstrations"),
        ("collect car-racing --episodes 1 --out other", "other holds demonstrations of push-t, not of car-racing"),
        (
            "collect car-racing --episodes 1 --out begun",
            "begun was begun with noise 0.5, not 0.0: use the same options",
        ),
        ("collect car-racing --episodes 1 --out torn", "demonstrations.json is damaged"),
        ("collect car-racing --episodes 1 --out hurt", "dropped.json is damaged: remove it"),
        ("collect car-racing --episodes 1 --out half", "episode_00000000.npz is damaged"),
    ],
)
def test_mistakes(words: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    facts = {"driver": "expert", "seed": 0, "noise": 0.0, "min_return": None, "policy": ""}
    for folder, environment, more in (
        ("other", "push-t", {}), ("begun", "car-racing", {"noise": 0.5}), ("hurt", "car-racing", {}),
        ("half", "car-racing", {}),
    ):  # fmt: skip
        Path(folder).mkdir()
        header = {"format": 1, "environment": environment, "expert": facts | more}
        Path(folder, "demonstrations.json").write_text(json.dumps(header))
    Path("full").mkdir()
    Path("full", "letter").touch()
    Path("torn").mkdir()
    Path("torn", "demonstrations.json").write_text("{")
    Path("hurt", "dropped.json").write_text("[1]")
    Path("half", "episode_00000000.npz").write_bytes(b"PK")
    before = sorted(Path().rglob("*"))
    done = shortcut(*words.split())
    assert done.code == 2
    assert expected in done.complaint
    assert done.complaint.startswith("shortcut: error: ")
    assert done.out == ""
    assert sorted(Path().rglob("*")) == before
