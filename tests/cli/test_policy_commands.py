"""`shortcut rollout` and `shortcut race`, with a small policy in a small environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import shortcut_models
from helpers import worlds
from helpers.runs import assert_refused, fork, shortcut, tree
from shortcut_models.models import checkpoint
from shortcut_models.policies import rollout
from shortcut_models.policies.episode import play
from shortcut_models.policies.policy import Policy

BRIEF = ("--steps", 1, 4, "--episodes", 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, digits_run: Path) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "open_environment", worlds.open_environment)
        patch.chdir(place)
        for run, world, steps in (("policy", "walk", 20), ("other", "slow-walk", 1), ("nameless", "", 1)):
            worlds.demonstrate(place / "demos", world)
            worlds.train_policy(place / run, Path("demos"), steps)
            shutil.rmtree(place / "demos")  # a policy acts without them
        shutil.copytree(digits_run, place / "digits")
        yield place


def episodes_of(file: Path) -> list[dict[str, Any]]:
    """Return the episodes of a rollout's JSON without the times."""
    return [
        {name: value for name, value in one.items() if "seconds" not in name and name != "timed_on"}
        for one in json.loads(file.read_text())["episodes"]
    ]


@pytest.mark.multiprocess
def test_a_rollout_prints_the_table_and_resumes(place: Path, tmp_path: Path) -> None:
    first = shortcut("rollout", "policy", *BRIEF, "--json", tmp_path / "a.json", "--workers", 2)
    assert first.code == 0, first.err
    assert "policy (shortcut, training step 20) in walk, 2 actions a decision\n3 episodes a row, seeds" in first.out
    assert [line.split()[0] for line in first.out.splitlines()[3:]] == ["steps", "1", "4"]
    records = tree(place / "policy" / "rollouts")
    more = shortcut("rollout", "policy", "--steps", 1, 4, "--episodes", 4, "--json", tmp_path / "b.json")
    assert more.code == 0
    longer = tree(place / "policy" / "rollouts")
    assert records.items() <= longer.items()
    assert len(longer) == len(records) + 2
    assert episodes_of(tmp_path / "b.json")[:6] == episodes_of(tmp_path / "a.json")


def test_scores_are_those_of_the_policy_in_this_process(place: Path, tmp_path: Path) -> None:
    assert shortcut("rollout", "policy", *BRIEF, "--json", tmp_path / "a.json").code == 0
    policy = Policy.load(place / "policy")
    for one in episodes_of(tmp_path / "a.json"):
        world, over, frames, decisions = worlds.Walk(), False, 0, 0
        observation, _ = world.reset(seed=one["seed"])
        policy.reset(seed=one["seed"])
        while not over:
            action = policy.act(observation, steps=one["steps"])
            observation, _, terminated, truncated, _ = world.step(action)
            over = terminated or truncated
            frames, decisions = frames + 1, decisions + policy.decided
        assert (one["score"], one["frames"], one["decisions"]) == (world.metric(), frames, decisions)
        assert decisions == -(-frames // 2)


def test_the_json_has_the_facts_of_the_rollout(place: Path, tmp_path: Path) -> None:
    assert shortcut("rollout", "policy", *BRIEF, "--json", tmp_path / "a.json").code == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["seeds"] == [1_000_000, 1_000_001, 1_000_002]
    assert (found["environment"], found["measure"], found["execute"], found["step"]) == ("walk", "return", 2, 20)
    assert {"date", "versions", "timed_on", "parameters"} <= set(found)
    assert found["versions"]["shortcut-models"] == shortcut_models.__version__
    assert {steps: row["episodes"] for steps, row in found["steps"].items()} == {"1": 3, "4": 3}


def test_episodes_of_other_versions_are_not_counted(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the table names the machine on which each episode was played."""
    words = ("rollout", "policy", "--episodes", 2, "--seed", 5000, "--json", tmp_path / "a.json")
    monkeypatch.setattr(rollout, "processor", lambda device: "an old processor")
    assert shortcut(*words).code == 0
    monkeypatch.setattr(rollout, "processor", lambda device: "a new processor")
    again = shortcut(*words)
    assert "timed on an old processor, 1 x" in again.out
    monkeypatch.setattr(rollout, "versions", lambda packages: {"simulator": "9.9"})
    other = shortcut(*words)
    assert "timed on a new processor, 1 x" in other.out
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["versions"] == {"simulator": "9.9"}
    assert {one["timed_on"].partition(",")[0] for one in found["episodes"]} == {"a new processor"}
    assert len(list((place / "policy" / "rollouts").glob("*/1-steps/0000500?.json"))) == 2 * 2


def test_seeds_of_training_are_skipped(place: Path, tmp_path: Path) -> None:
    """Demonstrations have the seeds 0 to 4."""
    outcome = shortcut("rollout", "policy", "--episodes", 2, "--seed", 3, "--json", tmp_path / "a.json")
    assert outcome.code == 0
    assert json.loads((tmp_path / "a.json").read_text())["seeds"] == [5, 6]


def test_other_executes_and_environments_have_records_of_their_own(place: Path, tmp_path: Path) -> None:
    before = len(list((place / "policy" / "rollouts").iterdir()))
    for more in (("--execute", 4), ("--environment", "brittle-walk")):
        assert shortcut("rollout", "policy", "--episodes", 2, *more, "--json", tmp_path / "a.json").code == 0
    assert len(list((place / "policy" / "rollouts").iterdir())) == before + 2


def test_a_crash_is_listed_below_the_table(place: Path) -> None:
    outcome = shortcut("rollout", "policy", "--episodes", 3, "--environment", "brittle-walk")
    assert outcome.code == 0
    assert (
        "1 episode crashed and counts as the lowest score, at most 0:\n  1 step, seed 1000001: ZeroDiv" in outcome.out
    )


def test_a_model_file_is_enough(place: Path) -> None:
    file = place / "policy" / "checkpoints" / "00000020" / "model.safetensors"
    assert shortcut("rollout", file, "--episodes", 1).code == 0
    cache = Path(os.environ["XDG_CACHE_HOME"])
    assert len(list(cache.rglob("01000000.json"))) == 1


def test_episodes_belong_to_the_weights_that_name_their_folder(place: Path) -> None:
    """A run in training may have another checkpoint when a worker opens it."""
    shutil.copytree(place / "policy", place / "growing", ignore=shutil.ignore_patterns("rollouts"))
    run = rollout.PolicyRun.open(place / "growing")
    checkpoints = place / "growing" / "checkpoints"
    weights, header = checkpoint.read(checkpoints / "00000020" / checkpoint.MODEL)
    (checkpoints / "00000040").mkdir()
    checkpoint.write(checkpoints / "00000040" / checkpoint.MODEL, {key: -w for key, w in weights.items()}, header)
    seeds, world = range(100, 103), worlds.Walk()
    played = rollout.roll_out(run.factory, run.records, [1], seeds, quiet=True)
    assert [one.score for one in played] == [play(run.policy, world, 1, seed).score for seed in seeds]
    later = rollout.PolicyRun.open(place / "growing")
    assert [one.score for one in played] != [play(later.policy, world, 1, seed).score for seed in seeds]
    assert run.records.folder != later.records.folder


@pytest.mark.multiprocess
def test_an_interrupted_rollout_says_how_to_continue(place: Path, tmp_path: Path) -> None:
    words = ("rollout", place / "policy", "--environment", "slow-walk", "--episodes", 8)
    process = fork(words, worlds.know_worlds, tmp_path / "said")
    while not list((place / "policy" / "rollouts").glob("slow-walk-*/*/[!.]*.json")):
        time.sleep(0.02)
        assert process.is_alive(), (tmp_path / "said").read_text()
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    said = (tmp_path / "said").read_text()
    assert "of 8 episodes played; run the same command again to resume" in said
    assert "Traceback" not in said


def test_a_rollout_can_be_watched(place: Path, tmp_path: Path) -> None:
    outcome = shortcut("rollout", "policy", *BRIEF, "--json", tmp_path / "a.json", "--video", tmp_path / "a.gif")
    assert outcome.code == 0, outcome.err
    for name, one in zip(("1 step", "4 steps"), episodes_of(tmp_path / "a.json"), strict=False):
        result = f"return {one['score']:.4g} after {one['frames']} frames, {one['ended']}"
        assert f"shortcut, {name}: {result}" in outcome.out
    with Image.open(tmp_path / "a.gif") as file:
        assert file.width == 2 * 61 + 8


def test_a_race_of_two_runs(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "policy", place / "twin", dirs_exist_ok=True)
    outcome = shortcut("race", "policy", "twin", "--seed", 7, "--video", tmp_path / "a.mp4")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["policy", "twin"]
    assert lines[0].partition(":")[2] == lines[1].partition(":")[2]
    assert lines[2] == str(tmp_path / "a.mp4")


def test_a_race_against_itself_in_real_time(place: Path, tmp_path: Path) -> None:
    words = ("--seed", 3, "--steps", 1, 16, "--real-time", "--seconds", 0.5)
    outcome = shortcut("race", "policy", *words, "--video", tmp_path / "a.gif")
    assert outcome.code == 0, outcome.err
    assert "policy was trained on a demonstration with seed 3" in outcome.err
    with Image.open(tmp_path / "a.gif") as file:
        assert sum(frame_times(file)) == 500


def frame_times(file: Image.Image) -> list[int]:
    times = []
    for index in range(getattr(file, "n_frames", 1)):
        file.seek(index)
        times.append(int(file.info["duration"]))
    return times


WRONG: dict[str, tuple[str, str]] = {
    "no policy": (
        "rollout digits",
        "digits: not a policy, as it was not trained on demonstrations: use `sh",
    ),
    "no run": ("rollout nowhere", "nowhere does not exist: pass a run directory or a model file"),
    "too many steps": ("rollout policy --steps 1 32", "--steps must be whole numbers from 1 to 16, not 32"),
    "no steps": ("rollout policy --steps 0", "--steps must be whole numbers from 1 to 16, not 0"),
    "no episodes": ("rollout policy --episodes 0", "--episodes must be >= 1, not 0"),
    "no workers": ("rollout policy --workers 0", "--workers must be >= 1, not 0"),
    "very many workers": ("rollout policy --workers 1000", "--workers must be <= 256, not 1000"),
    "seed": ("rollout policy --seed -1", "--seed must be >= 0, not -1"),
    "a seed too large": ("rollout policy --seed 2147483648", "--seed must be <= 2147483647, not 2147483648"),
    "seeds too large": (
        "rollout policy --seed 2147483646 --episodes 3",
        "there are fewer than 3 seeds from 2147483646 to 2147483647: use",
    ),
    "execute none": ("rollout policy --execute 0", "--execute must be >= 1, not 0"),
    "execute too many": ("rollout policy --execute 5", "execute must be from 1 to 4"),
    "unknown environment": ("rollout policy --environment moon", "there is no environment 'moon'"),
    "no environment": (
        "rollout nameless",
        "the demonstrations of nameless do not name their environment: pass --envir",
    ),
    "another action": ("rollout policy --environment plane", "an action of policy has size 1, and one of plane size 2"),
    "another observation": (
        "rollout policy --environment blind",
        "policy needs state, which blind does not offer: choose another environment",
    ),
    "json": ("rollout policy --json table.txt", "the name of table.txt must end in .json"),
    "json elsewhere": ("rollout policy --json nowhere/a.json", "nowhere is not a folder: make it first"),
    "video": ("rollout policy --video out.avi", "the name of out.avi must end in .mp4 or .gif"),
    "video elsewhere": ("rollout policy --video nowhere/a.gif", "nowhere is not a folder: make it first"),
    "guidance": ("rollout policy --guidance 2", "there is no option --guidance (see `shortcut rollout --help`)"),
    "a race without a video": ("race policy", "--video is missing"),
    "a race without runs": ("race --video a.gif", "RUN needs at least one value"),
    "a race between worlds": (
        "race policy other --video a.gif",
        "other acts in slow-walk, and policy in walk: race runs of one env",
    ),
    "a race of digits": ("race policy digits --video a.gif", "digits: not a policy"),
    "a race's video": ("race policy --video a.webm", "the name of a.webm must end in .mp4 or .gif"),
    "a race's steps": ("race policy policy policy --steps 1 2 --video a.gif", "one for each of 3 runs, not 2"),
    "a race's many steps": ("race policy policy --steps 1 99 --video a.gif", "from 1 to 16, not 99"),
    "a race's seed": ("race policy --seed -1 --video a.gif", "--seed must be >= 0, not -1"),
    "a race of no time": ("race policy --seconds 0 --video a.gif", "--seconds must be > 0, not 0.0"),
    "a race of nan": ("race policy --seconds nan --video a.gif", "--seconds must be a number or none, not nan"),
    "sample a policy": (
        "sample policy --out a.npz",
        "policy is a policy, and its samples are actions: draw them with `shortcut plot-chunks policy`",
    ),
    "interpolate a policy": ("interpolate policy --out a.png", "or judge it with `shortcut rollout policy`"),
    "fid of a policy": ("evaluate policy --fid-stats stats.npz", "policy is a policy, and its samples are actions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refusals_of_rollouts_and_races(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from shortcut_models.evaluation import fid_reference as fid_stats

    monkeypatch.setattr(fid_stats, "read_reference", lambda path: None)  # so that only the policy is wrong
    assert_refused(*WRONG[name], unchanged=place)


def test_a_damaged_record_is_refused_by_rollout(place: Path) -> None:
    words = ("rollout", "policy", "--episodes", 1, "--steps", 2)
    assert shortcut(*words).code == 0
    (path,) = (place / "policy" / "rollouts").glob("walk-*/2-steps/01000000.json")
    path.write_text(path.read_text()[:40])
    message = "01000000.json is damaged: remove it, and the same command plays that episode again"
    assert_refused(words, message, unchanged=place)
    path.unlink()
    assert shortcut(*words).code == 0


@pytest.mark.parametrize("command", ["rollout", "race"])
def test_a_missing_package_is_reported_in_one_line(place: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # type: ignore[arg-type]
    message = "shortcut: error: MP4 needs an extra: pip install 'shortcut-models[video]'"
    assert_refused(f"{command} policy --video a.mp4", message, unchanged=place)


def test_weights_that_are_not_finite_are_reported_before_any_episode(place: Path) -> None:
    shutil.copytree(place / "policy", place / "diverged", ignore=shutil.ignore_patterns("rollouts"))
    file = place / "diverged" / "checkpoints" / "00000020" / "model.safetensors"
    weights, header = checkpoint.read(file)
    checkpoint.write(file, {name: value * np.nan for name, value in weights.items()}, header)
    outcome = shortcut("rollout", "diverged", "--episodes", 2)
    assert outcome.code == 2
    assert "the samples are not finite" in outcome.complaint
    assert not (place / "diverged" / "rollouts").exists()
