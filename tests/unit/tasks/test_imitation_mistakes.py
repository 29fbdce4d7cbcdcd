"""What cannot be learned or acted on is said in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers import demonstrations as demos
from helpers.demonstrations import actions, pictures, states
from helpers.runs import assert_refused, refusal, shortcut
from shortcut_models import UserError
from shortcut_models.data.demonstrations import native as own
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.recipes.commands import train_command
from shortcut_models.recipes.library import RECIPES, Recipe
from shortcut_models.tasks import Imitation
from shortcut_models.training.options import Training

pytestmark = [pytest.mark.usefixtures("annotations_unchecked"), pytest.mark.needs_extra]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(demos.make_native(tmp_path_factory.mktemp("demonstrations")))


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "more executed than predicted": ({"chunk": 4, "execute": 5}, r"^execute must be at most chunk \(4\), not 5"),
    "twice": ({"observations": ("state[:1]", "state[1:]")}, "must each be named once, not state"),
    "no name": ({"observations": ("state[0]",)}, r"names such as image, state or state\[:2\], not 'state\[0\]'"),
    "all held out": ({"validation_fraction": 1.0}, "^validation-fraction must be < 1, not 1.0"),
    "no frames": ({"history": 0}, "^history must be >= 1"),
    "no data": ({"data": None}, "imitation needs demonstrations: pass --data with a folder that `shortcut collect`"),
    "nowhere": ({"data": "nowhere"}, "^nowhere: this does not exist: use a folder that"),
    "unknown observation": ({"observations": ("imge",)}, "no observation 'imge': did you mean image"),
    "a cut image": ({"observations": ("image[:2]",)}, "image is an image, and only vectors can be cut: .*--task.crop"),
    "an empty cut": ({"observations": ("state[3:]",)}, "nothing is left of state, which has 3 numbers"),
    "a crop beyond the image": ({"crop": 17}, "^crop must be at most 16, the shorter side of image, not 17"),
    "another environment": ({"environment": "car-racing"}, "is of push-t, not of car-racing: choose others"),
    "only short episodes": (
        {"chunk": 30, "execute": 1},
        r"^0 of 4 episodes in .* have 30 frames or more; one to train on and one to hold out .*--task.chunk",
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_refusals_of_imitation(name: str, data: str) -> None:
    given, message = FIELDS[name]
    with refusal(message):
        Imitation(**({"data": data} | given)).resolve()


def write(folder: Path, lengths: list[int]) -> str:
    own.prepare_folder(folder, "", {})
    for seed, length in enumerate(lengths):
        own.write_episode(folder, seed, {"state": states(length)}, actions(length), 0.0)
    return str(folder)


def test_one_episode_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds one episode: at least two are needed, as one is held out"):
        Imitation(write(tmp_path, [20])).resolve()


def test_episodes_shorter_than_the_chunk_are_padded_and_only_the_shortest_left_out(tmp_path: Path) -> None:
    data = write(tmp_path / "few", [20, 20, 20, 6, 5, 4])
    with pytest.warns(UserWarning, match="1 of 6 episodes in .* have fewer than 5 frames, and are left out"):
        task = Imitation(data, chunk=8, execute=4).resolve()
    assert sum(len(task.dataset(split)) for split in ("train", "test")) == 3 * 16 + 2 + 1


def test_actions_without_observations(tmp_path: Path) -> None:
    with h5py.File(demos.make_robomimic(tmp_path), "r+") as file:
        for demo in file["data"].values():
            del demo["obs"]["image"], demo["obs"]["state"]
    with pytest.raises(UserError, match="holds no observations: record what was seen, too"):
        Imitation(str(tmp_path / "demo.hdf5")).resolve()


def test_a_task_that_has_not_looked_at_its_data(data: str) -> None:
    with pytest.raises(UserError, match=r"not known yet: use the task that resolve\(\) returns"):
        _ = Imitation(data).shape


def test_other_demonstrations_than_those_it_was_resolved_with(data: str, tmp_path: Path) -> None:
    task = Imitation(data, observations=("state[:2]",)).resolve()
    own.prepare_folder(tmp_path / "other", "", {})
    for seed in range(3):
        own.write_episode(tmp_path / "other", seed, {"state": states(20)[:, :1]}, actions(20), 0.0)
    with pytest.raises(UserError, match="is not what this task was resolved with: use the same demonstrations"):
        dataclasses.replace(task, data=str(tmp_path / "other")).dataset("train")


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ({"state": states(2)[None]}, "the policy sees image, which is not among state"),
        ({"image": pictures(2)[None], "state": states(3)[None]}, r"state is float32 \[3, 3\] .* numbers \[2, 3\]"),
        ({"image": pictures(2, 8)[None], "state": states(2)[None]}, r"is uint8 \[2, 8, 8, 3\].* \[2, 16, 16, 3\]"),
        (
            {"image": pictures(2)[None] / 255, "state": states(2)[None]},
            r"image is float64 .* must be .*: uint8 \[2, 16,",
        ),
    ],
)
def test_what_was_seen_must_be_as_in_the_demonstrations(seen: dict[str, np.ndarray], message: str, data: str) -> None:
    task = Imitation(data).resolve()
    with pytest.raises(UserError, match=message):
        task.raw_conditions(seen)


def test_from_the_command_line(data: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    training = Training(train_steps=2, warmup=1, batch_size=4, device="cpu", sample_every=2)
    recipe = Recipe("a policy", Imitation(), MLPConfig(width=16, depth=1), FlowMatching(max_steps=2), training)
    monkeypatch.setitem(RECIPES, "policy", recipe)
    words = ("train", "policy", "--run", tmp_path / "run")
    for more, message in (
        ((), "recipe policy needs your data: pass --data with a folder that `shortcut collect` wrote"),
        (("--data", data, "--task.observations", "stat"), "did you mean state?"),
        (("--data", data, "--task.crop", "99"), "crop must be at most 16"),
        (("--data", data, "--task.chunk", "3"), "execute must be at most chunk (3), not 4"),
    ):
        assert_refused((*words, *more), message, unchanged=tmp_path)
    outcome = shortcut(*words, "--data", data, "--task.observations", "state[:2]")
    assert outcome.code == 0
    run = tmp_path / "run"
    assert f"{run} is trained: try `shortcut rollout {run} --steps 1 4` or `shortcut evaluate {run}`" in outcome.out
    again = train_command(json.loads((tmp_path / "run" / "config.json").read_text()), tmp_path / "run")
    assert again == f"shortcut train policy --run {tmp_path / 'run'} --data {data} --task.environment push-t " + (
        "--task.observations 'state[:2]'"
    )
    outcome = shortcut(*words, "--data", data, "--task.observations", "state[:1]")
    assert outcome.code == 2
    assert "use the same to resume" in outcome.err
