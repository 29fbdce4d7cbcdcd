"""`shortcut collect`: the files it writes, its continuation after a stop, and its messages."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.paths import DATA
from helpers.runs import assert_refused, shortcut, tree
from helpers.worlds import Line, LineExpert
from shortcut_models.data.demonstrations import native, read
from shortcut_models.errors import UserError
from shortcut_models.policies.collect import Settings, collect, correlated_noise, perturbations, record_episode
from shortcut_models.policies.environments import CarRacing, Observation
from shortcut_models.policies.experts import Expert

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra `car-racing`")
OLD = DATA / "version_0_1" / "demonstrations"


def fill(out: Path, episodes: int, expert: Expert, **settings: Any) -> tuple[list[float], list[str]]:
    said: list[str] = []
    return collect("line", Line(), expert, out, episodes, Settings("expert", **settings), said.append), said


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let laps end after 12 frames."""
    monkeypatch.setattr(CarRacing, "max_episode_steps", 12)


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
        "perturbations": 0.0,
        "min_return": None,
        "policy": "",
    }


@pytest.mark.usefixtures("short")
def test_the_recorded_action_belongs_to_the_frame_beside_it() -> None:
    environment = CarRacing()
    environment.reset(seed=7)

    class Says(LineExpert):
        def act(self, observation: Observation) -> np.ndarray:
            return np.array([0, environment.frames / 100, 0], np.float32)

    episode = record_episode(environment, Says(), 7)
    np.testing.assert_allclose(episode.actions[:, 1] * 100, np.arange(12), atol=1e-5)
    image = environment.reset(seed=7)[0]["image"]
    for frame in range(12):
        np.testing.assert_array_equal(episode.observations["image"][frame], image)
        image = environment.step(episode.actions[frame])[0]["image"]


def test_a_collection_continues_where_it_was_stopped(tmp_path: Path) -> None:
    class Stops(LineExpert):
        def act(self, observation: Observation) -> np.ndarray:
            if self.episodes == 3:
                raise KeyboardInterrupt
            return super().act(observation)

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, 5, Stops())
    assert sorted(os.listdir(tmp_path)) == ["demonstrations.json", "episode_00000000.npz", "episode_00000001.npz"]
    before = (tmp_path / "episode_00000001.npz").stat().st_mtime_ns
    expert = LineExpert()
    scores, said = fill(tmp_path, 5, expert)
    assert scores == [0, 1, 2, 3, 0]
    assert expert.episodes == 3
    assert len(said) == 5
    assert (tmp_path / "episode_00000001.npz").stat().st_mtime_ns == before
    assert fill(tmp_path, 6, LineExpert())[0] == [0, 1, 2, 3, 0, 1]  # more of the same


def test_low_returns_are_dropped_counted_and_not_recorded_again(tmp_path: Path) -> None:
    expert = LineExpert()
    scores, said = fill(tmp_path, 3, expert, min_return=2.0)
    assert scores == [2, 3, 2]
    assert expert.episodes == 7
    assert said[0] == "seed 0: return 0.0, dropped: less than 2"
    assert said[-1] == "4 episodes dropped, 3 kept"
    again = LineExpert()
    assert fill(tmp_path, 3, again, min_return=2.0) == (scores, said)
    assert again.episodes == 0
    with pytest.raises(
        UserError, match="20 episodes in a row scored less than 99: use a smaller --min-return and another --out"
    ):
        fill(tmp_path / "new", 1, LineExpert(), min_return=99.0)


def test_noise_is_added_to_executed_actions_and_not_to_recorded_ones() -> None:
    still = record_episode(Line(), LineExpert(), 3)
    assert (still.actions == 0).all()
    noisy = record_episode(Line(), LineExpert(), 3, noise=0.2)
    np.testing.assert_array_equal(noisy.actions, np.clip(-noisy.observations["state"], -1, 1))
    assert 0.05 < np.abs(np.diff(noisy.observations["state"], axis=0)).max() < 1


def test_noise_has_its_deviation_and_memory() -> None:
    made = correlated_noise(np.array([1.0, 0.3]), 5)
    noise = np.array([next(made) for _ in range(60000)])
    np.testing.assert_array_equal(noise[0], 0)
    np.testing.assert_allclose(noise.std(0), [1, 0.3], rtol=0.05)
    later = [np.corrcoef(noise[lag:, 0], noise[:-lag, 0])[0, 1] for lag in (1, 10, 20)]
    np.testing.assert_allclose(later, np.exp([-0.1, -1, -2]), atol=0.05)


def test_perturbations_are_executed_and_not_recorded() -> None:
    expert, environment = LineExpert(), Line()
    made = perturbations(expert, environment, 20.0, 5)
    found = [next(made) for _ in range(40000)]
    lengths = [len(list(run)) for held, run in itertools.groupby(found, key=lambda one: one is not None) if held]
    assert min(lengths) >= 10
    assert max(lengths) < 90  # at most two that follow each other directly
    assert len(lengths) == pytest.approx(40000 / (50 + 25), rel=0.1)
    assert np.mean(lengths) == pytest.approx(25, rel=0.1)
    none = perturbations(expert, environment, 0.0, 5)
    assert all(next(none) is None for _ in range(1000))
    episode = record_episode(environment, expert, 3, rate=900.0)
    wanted = np.clip(-episode.observations["state"], -1, 1)
    np.testing.assert_array_equal(episode.actions, wanted)
    moved = np.diff(episode.observations["state"], axis=0)
    assert (moved != wanted[:-1]).any()


def test_a_collection_of_version_0_1_reads_as_it_did() -> None:
    found, expected = read(OLD), np.load(DATA / "version_0_1" / "demonstrations.npz")
    assert found.environment == "line"
    for name in ("actions", "ends", "returns", "seeds"):
        np.testing.assert_array_equal(getattr(found, name), expected[name])
    assert found.observations.keys() == {"state", "image"}
    for name, array in found.observations.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype


def test_a_collection_of_version_0_1_continues(tmp_path: Path) -> None:
    """With the same settings, of which --perturbations was called --blunders; other ones are refused."""
    shutil.copytree(OLD, tmp_path / "old")
    settings = {"noise": 0.2, "perturbations": 200.0, "min_return": -7.0}
    before = tree(tmp_path / "old")
    scores, _ = fill(tmp_path / "old", 4, LineExpert(), **settings)
    assert scores[:3] == list(np.load(DATA / "version_0_1" / "demonstrations.npz")["returns"])
    assert len(scores) == 4
    assert before.items() <= tree(tmp_path / "old").items()
    with pytest.raises(UserError, match=r"old was started with perturbations 200\.0, not 100\.0"):
        fill(tmp_path / "old", 5, LineExpert(), **(settings | {"perturbations": 100.0}))


def test_episodes_are_those_of_version_0_1(tmp_path: Path) -> None:
    """The same seeds and settings give the same arrays, bit for bit."""
    fill(tmp_path / "new", 3, LineExpert(), noise=0.2, perturbations=200.0, min_return=-7.0)
    for old, new in zip(native.episode_files(OLD), native.episode_files(tmp_path / "new"), strict=True):
        with np.load(old) as expected, np.load(new) as found:
            assert expected.files == found.files
            assert all(np.array_equal(expected[name], found[name]) for name in expected.files)


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
        (f"{COMMAND} --perturbations -1", "--perturbations must be >= 0, not -1.0"),
        (f"{COMMAND} --perturbations nan", "--perturbations must be a number, not nan"),
        (
            f"{COMMAND} --human --perturbations 3",
            "--perturbations need an expert: leave out --perturbations or",
        ),
        (f"{COMMAND} --min-return nan", "--min-return must be a number or none, not nan"),
        (f"{COMMAND} --human", "--human needs a screen, and there is none: leave it out to let the expert drive"),
        ("collect car-racing --episodes 1 --out full", "full is not empty and does not hold demonstrations"),
        ("collect car-racing --episodes 1 --out other", "other holds demonstrations of push-t, not of car-racing"),
        (
            "collect car-racing --episodes 1 --out begun",
            "begun was started with noise 0.5, not 0.0: use the same options",
        ),
        (
            "collect car-racing --episodes 1 --out old",
            "old was started with perturbations 3.0, not 0.0: use the same options",
        ),
        ("collect car-racing --episodes 1 --out torn", "demonstrations.json is damaged"),
        ("collect car-racing --episodes 1 --out hurt", "dropped.json is damaged: remove it"),
        ("collect car-racing --episodes 1 --out half", "episode_00000000.npz is damaged"),
    ],
)
def test_wrong_options_and_folders_are_refused(
    words: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    facts = {"driver": "expert", "seed": 0, "noise": 0.0, "min_return": None, "policy": ""}
    for folder, environment, more in (
        ("other", "push-t", {}), ("begun", "car-racing", {"noise": 0.5}), ("hurt", "car-racing", {}),
        ("half", "car-racing", {}), ("old", "car-racing", {"blunders": 3.0}),
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
    assert_refused(words, expected, unchanged=tmp_path)
