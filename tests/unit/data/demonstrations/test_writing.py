"""Writing demonstrations that are in memory: what is read again, and what is refused, whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.runs import refusal
from shortcut_models import demonstrations
from shortcut_models.data.demonstrations import draw_episode
from shortcut_models.demonstrations import Episode
from shortcut_models.tasks import Imitation

LENGTHS = (7, 4, 9)


def episodes(**changes: Any) -> list[dict[str, Any]]:
    """Return episodes whose numbers identify their frames; changes are made to the second one."""
    random, found = np.random.default_rng(0), []
    for number, length in enumerate(LENGTHS):
        states, actions = np.arange(length)[:, None] + [10.0 * number, 0.5], random.normal(size=(length, 3))
        image = random.integers(0, 256, (length, 6, 5, 3), dtype=np.uint8)
        found.append({"observations": {"state": states, "top": image}, "actions": actions})
    found[1].update(changes)
    return found


def seen(**changes: Any) -> dict[str, Any]:
    return {"observations": {**episodes()[1]["observations"], **changes}}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    given = episodes()
    where = demonstrations.write(tmp_path / "new" / "demos", given, fps=12.5, environment="Pendulum-v1")
    assert where == tmp_path / "new" / "demos"
    found = demonstrations.read(where)
    for name in ("state", "top"):
        wanted = np.concatenate([one["observations"][name] for one in given])
        assert np.array_equal(found.observations[name], wanted)
    assert found.observations["top"].dtype == np.uint8
    assert np.array_equal(found.actions, np.concatenate([one["actions"] for one in given]).astype(np.float32))
    assert found.ends.tolist() == np.cumsum(LENGTHS).tolist()
    assert (found.fps, found.environment, found.returns) == (12.5, "Pendulum-v1", None)
    assert found.seeds is not None
    assert found.seeds.tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["demos"]
    assert Imitation(str(where), chunk=2, execute=1).resolve().environment == "Pendulum-v1"


def test_episodes_may_come_one_by_one_with_scores_and_seeds(tmp_path: Path) -> None:
    """And as other kinds of arrays: lists, tensors, whole numbers."""

    def generate() -> Iterator[Episode]:
        for number, one in enumerate(episodes()):
            observations = {
                "flag": (one["observations"]["state"] > 3).tolist(),
                "at": np.arange(len(one["actions"]) * 2),
            }
            observations["at"] = torch.from_numpy(observations["at"].reshape(-1, 2))
            yield Episode(observations, torch.from_numpy(one["actions"]), score=number / 2, seed=100 - number)

    (tmp_path / "empty").mkdir()
    found = demonstrations.read(demonstrations.write(tmp_path / "empty", generate()))
    assert found.returns is not None
    assert found.seeds is not None
    assert (found.returns.tolist(), found.seeds.tolist()) == ([1.0, 0.5, 0.0], [98, 99, 100])
    assert found.fps is None
    assert found.observations["flag"][9 + 4 + 3].tolist() == [0.0, 1.0]
    assert found.observations["at"][:2].tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_points_of_several_axes_are_flattened(tmp_path: Path) -> None:
    points = np.arange(24.0).reshape(4, 3, 2)
    one = {"observations": {"points": points}, "actions": np.zeros((4, 1))}
    found = demonstrations.read(demonstrations.write(tmp_path / "demos", [one]))
    assert np.array_equal(found.observations["points"], points.reshape(4, 6))


def named(name: str, size: int) -> dict[str, Any]:
    return {"observations": {name: np.zeros((3, size))}, "actions": np.zeros((3, 1))}


WRONG: dict[str, tuple[Any, str]] = {
    "lengths": ({"actions": np.zeros((3, 3))}, "episode 1: there are 3 actions and 4 frames of state: pass one of"),
    "nan": (seen(state=np.array([[0, 0], [0, 0], [0, np.nan], [0, 0]])), "state is NaN or infinite at frame 2"),
    "infinite action": ({"actions": np.full((4, 3), np.inf)}, "episode 1: action is NaN or infinite at frame 0"),
    "text": (seen(state=np.full((4, 2), "a")), "episode 1: state holds <U1, not numbers"),
    "objects": (seen(state=np.full((4, 2), None)), "episode 1: state holds object, not numbers"),
    "ragged": (seen(state=[[1, 2], [3], [4], [5]]), "episode 1: state is not an array .*: pass one of one size"),
    "one axis": (seen(state=np.zeros(4)), r"state must be \[frames, size\], or of images .*, not float64 \[4\]"),
    "grey": (seen(state=np.zeros((4, 6, 5), np.uint8)), r"state must be .* not uint8 \[4, 6, 5\]: reshape it"),
    "a number": (seen(state=3.0), r"episode 1: state must be .* not float64 \[\]"),
    "actions of one axis": ({"actions": np.zeros(4)}, r"episode 1: action must be \[frames, size\], not float64 \[4\]"),
    "channels first": (seen(top=np.zeros((4, 3, 6, 7), np.uint8)), r"a frame of top is \[3, 6, 7\], and of ep"),
    "floats": (seen(top=np.full((4, 6, 5, 3), 0.5)), "images of top are float64 from 0.5 to 0.5, which 8 bits"),
    "beyond float32": (seen(state=np.full((4, 2), 1e300)), "episode 1: state holds numbers beyond those of float32"),
    "other names": ({"observations": {"sound": np.zeros((4, 1))}}, "it has sound, and episode 0 state, top: use"),
    "another size": ({"actions": np.zeros((4, 2))}, r"a frame of action is \[2\], and of episode 0 \[3\]: use"),
    "no frames": (
        {"observations": {"state": np.zeros((0, 2)), "top": np.zeros((0, 6, 5, 3))}, "actions": np.zeros((0, 3))},
        "episode 1: it has no frames: leave it out",
    ),
    "no numbers": (seen(state=np.zeros((4, 0))), r"episode 1: a frame of state is \[0\], and of episode 0 \[2\]"),
    "nothing seen": ({"observations": {}}, "episode 1: observations must be a dict with at least one array"),
    "observations": ({"observations": np.zeros((4, 2))}, "episode 1: observations must be a dict with at least one"),
    "an action seen": (seen(action=np.zeros((4, 3))), "episode 1: an observation is called 'action': rename it"),
    "a bad name": (seen(**{"a.b": np.zeros((4, 3))}), "episode 1: it has state, top, a.b, and episode 0 state, top"),
    "a wrong key": ({"action": 1}, "episode 1: there is no part of an episode 'action': did you mean actions?"),
    "seed": ({"seed": -1}, "episode 1: seed must be None or a whole number of at least 0, not -1"),
    "same seed": ({"seed": 0}, "episode 1: its seed is 0, as that of episode 0: give each one of its own"),
    "score": ({"score": float("nan")}, "episode 1: score must be None or a finite number, not nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.usefixtures("annotations_unchecked")
def test_a_wrong_episode_is_named_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    changes, line = WRONG[name]
    with refusal("^episode 1: " + line.removeprefix("episode 1: ")):
        demonstrations.write(tmp_path / "demos", episodes(**changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "there are no episodes: pass at least one, and two to train on them"),
        ([[1, 2]], "episode 0: it is a list: pass a dict with observations and actions, or an Episode"),
        ([{"observations": {"state": np.zeros((3, 1))}}], "episode 0: actions is missing: pass observations and"),
        (episodes()[0], "episodes must be a list of episodes, not dict: put it into a list"),
        (3, "episodes must be a list of episodes, not int"),
        ([named("a.b", 1)], "episode 0: an observation is called"),
        ([named("keys", 1)], "episode 0: an observation is called"),
        ([named("s", 0)], "episode 0: the frames of s hold no"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("annotations_unchecked")
def test_what_holds_no_episodes_is_refused(tmp_path: Path, given: Any, line: str) -> None:
    with refusal(line):
        demonstrations.write(tmp_path / "demos", given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, fps: float) -> None:
    with refusal("fps must be None or a number above 0, not"):
        demonstrations.write(tmp_path / "demos", episodes(), fps=fps)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    demonstrations.write(tmp_path / "demos", episodes())
    (tmp_path / "file").touch()
    for name in ("demos", "file"):
        with refusal(f"{name} exists and is not an empty folder: choose another one, or remove it first"):
            demonstrations.write(tmp_path / name, episodes())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refusal("cannot write .*demos: (Not a directory|File exists): choose another folder"):
        demonstrations.write(tmp_path / "file" / "demos", episodes())


def test_an_error_of_the_callers_own_leaves_nothing(tmp_path: Path) -> None:
    def generate() -> Iterator[dict[str, Any]]:
        yield episodes()[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        demonstrations.write(tmp_path / "demos", generate())
    assert not list(tmp_path.iterdir())


def test_an_episode_is_drawn_from_a_path_or_from_what_was_read(tmp_path: Path) -> None:
    where = demonstrations.write(tmp_path / "demos", episodes())
    found = demonstrations.read(where)
    wanted = draw_episode(found, 2)
    for data in (where, str(where), found):
        assert np.array_equal(demonstrations.draw(data, 2), wanted)
    with refusal("episode 3 does not exist: choose one from 0 to 2"):
        demonstrations.draw(where, 3)


def test_a_damaged_rate_is_refused(tmp_path: Path) -> None:
    where = demonstrations.write(tmp_path / "demos", episodes())
    header = json.loads((where / "demonstrations.json").read_text())
    assert "fps" not in header
    (where / "demonstrations.json").write_text(json.dumps({**header, "fps": "fast"}))
    with refusal("demonstrations.json is damaged"):
        demonstrations.read(where)
