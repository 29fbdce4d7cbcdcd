"""Demonstrations that are wrong raise one line that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from helpers import demonstrations as demos
from helpers.demonstrations import ENDS, actions, pictures, states
from shortcut_models.data.demonstrations import Demonstrations, native, read
from shortcut_models.errors import UserError

pytestmark = [pytest.mark.usefixtures("annotations_unchecked"), pytest.mark.needs_extra]


def text_file(root: Path) -> Path:
    (root / "notes.txt").write_text("not demonstrations")
    return root / "notes.txt"


def episode(*, only: bool = False, **arrays: Any) -> demos.Maker:
    """Our own format, with some arrays of episode 102 replaced, or left out if None; `only`: without the others."""

    def make(root: Path) -> Path:
        path = demos.make_native(root) / "episode_00000102.npz"
        for other in path.parent.glob("*.npz") if only else ():
            if other != path:
                other.unlink()
        with np.load(path) as file:
            held = {name: file[name] for name in file.files}
        held |= {name.replace("__", "."): array for name, array in arrays.items()}
        np.savez(path, **{name: array for name, array in held.items() if array is not None})
        return path.parent

    return make


def with_nan(array: np.ndarray, frame: int) -> np.ndarray:
    array = array.copy()
    array[frame, 1] = np.nan
    return array


def native_cut(root: Path) -> Path:
    path = demos.make_native(root)
    demos.cut(path / "episode_00000102.npz")
    return path


def header(text: str) -> demos.Maker:
    def make(root: Path) -> Path:
        path = demos.make_native(root)
        (path / native.HEADER).write_text(text)
        return path

    return make


def no_episodes(root: Path) -> Path:
    native.prepare_folder(root / "native", "push-t", {})
    return root / "native"


def buffer(**arrays: Any) -> demos.Maker:
    """A replay buffer with some arrays replaced, or left out where they are None."""

    def make(root: Path) -> Path:
        path = demos.make_zarr(root)
        group = zarr.open_group(str(path), mode="a")
        for name, array in arrays.items():
            name = name.replace("__", "/")
            if name in group:
                del group[name]
            if array is not None:
                made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=array.shape)
                made[...] = array
        return path

    return make


def zip_cut(root: Path) -> Path:
    path = demos.make_zarr_zip(root)
    demos.cut(path)
    return path


def zip_of_something_else(root: Path) -> Path:
    np.savez(root / "arrays.npz", action=actions())
    return root / "arrays.npz"


def chunk_broken(root: Path) -> Path:
    path = demos.make_zarr(root)
    (path / "data" / "state" / "0.0").write_bytes(b"no chunk at all, but something else of some length")
    return path


def hdf5(change: Callable[[Any], None]) -> demos.Maker:
    def make(root: Path) -> Path:
        path = demos.make_robomimic(root)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def without(*names: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        for name in names:
            del file[name]

    return change


def put(name: str, array: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        if name in file:
            del file[name]
        file[name] = array

    return change


def hdf5_cut(root: Path) -> Path:
    path = demos.make_robomimic(root)
    demos.cut(path)
    return path


MISTAKES: dict[str, tuple[demos.Maker, str]] = {
    "nothing there": (lambda root: root / "nowhere", "nowhere: this does not exist: use a folder that"),
    "an empty folder": (lambda root: root, "this folder does not hold demonstrations of a known format: use a folder"),
    "a file of another kind": (text_file, "this file does not hold demonstrations of a known format: use a folder"),
    "no episodes": (no_episodes, "it holds no episodes: collect some"),
    "header of another version": (header('{"format": 9, "environment": "", "expert": {}}'), "has format 9.*update"),
    "damaged header": (header("{"), "demonstrations.json is damaged: write it again"),
    "truncated episode": (native_cut, "episode_00000102.npz is damaged .*remove it"),
    "no actions": (episode(action=None), "episode_00000102.npz lacks action: remove it"),
    "no state": (episode(observation__state=None), "episode_00000102.npz lacks observation.state: remove it"),
    "fewer states": (
        episode(observation__state=states()[:8]), "episode_00000102.npz has 9 actions and 8 frames of state: write"),
    "actions of another size": (
        episode(action=states()[:9]), "action is 3 in episode_00000102.npz and 2 in episode_00000100.npz: use one"),
    "images of another size": (
        episode(observation__image=pictures(9, 8)), "image is 8 x 8 x 3 in episode_00000102.npz and 16 x 16 x 3 in"),
    "NaN actions": (
        episode(action=with_nan(actions(9), 4)), r"action of episode 2 \(seed 102\) is NaN or infinite at frame 4"),
    "NaN observations": (
        episode(observation__state=with_nan(states()[:9], 8)), r"state of episode 2 .* is NaN .* frame 8: correct"),
    "text for a state": (
        episode(observation__state=np.full((9, 3), "a")), "episode_00000102.npz: state holds <U1, not numbers"),
    "text for a return": (
        episode(**{"return": np.array("high")}), "episode_00000102.npz: return must be a number, not <U4 high: write"),
    "three returns": (episode(**{"return": np.ones(3)}), "episode_00000102.npz: return must be a number, not float64"),
    "half a seed": (episode(seed=np.float64(0.5)), "seed must be a whole number, not float64 0.5: write it again"),
    "an episode without frames": (
        episode(action=actions(0), observation__state=states(0), observation__image=pictures(0)),
        "episode_00000102.npz has no frames: remove it"),
    "a dot in a name": (
        episode(**{"observation.arm.state": states()[:9]}, only=True), "an observation is called 'arm.state': use"),
    "a number beside the arrays": (buffer(data__fps=np.float32(10)), "33 actions and no frames of fps: write one"),
    "one action": (buffer(data__action=np.float32(1)), "data/action has no frames: write it again"),
    "one end": (buffer(meta__episode_ends=np.int64(33)), r"meta/episode_ends must be one list of whole .* int64 \[\]"),
    "ends in rows": (buffer(meta__episode_ends=ENDS[:, None]), r"must be one list of whole numbers, not .*4, 1"),
    "half an end": (buffer(meta__episode_ends=ENDS - 0.5), "must be one list of whole numbers, not float64"),
    "an array for a group": (buffer(data=actions()), "data and meta must be groups: use a replay buffer"),
    "truncated zip": (zip_cut, "the file is damaged .*copy it again"),
    "a zip of something else": (zip_of_something_else, "does not hold a zarr group"),
    "ends that do not ascend": (
        buffer(meta__episode_ends=np.array([12, 9, 26, 33])), "from above 0 to 33.* not be 12, 9, 26, 33: write"),
    "ends beyond the actions": (buffer(meta__episode_ends=ENDS + 1), "must ascend .*write them again"),
    "an empty episode": (buffer(meta__episode_ends=np.array([0, 12, 33])), "episode 0 has no frames: remove it"),
    "a buffer without actions": (buffer(data__action=None), "the group lacks action: a replay buffer has data/action"),
    "a buffer without ends": (buffer(meta__episode_ends=None), "the group lacks episode_ends: a replay buffer has"),
    "more states than actions": (
        buffer(data__state=states(40)), "there are 33 actions and 40 frames of state: write one of each"),
    "images beyond 255": (
        buffer(data__img=3 * pictures().astype(np.float32)), "float32 from 0 to 765, which 8 bits do not hold exactly"),
    "channels first": (
        buffer(data__img=pictures().transpose(0, 3, 1, 2)), r"with 1, 3 or 4 channels, not \[.*\]: transpose them"),
    "damaged chunk": (chunk_broken, "data/state is damaged .*copy the replay buffer again"),
    "truncated HDF5": (hdf5_cut, "the file is damaged .*copy it again"),
    "HDF5 of something else": (hdf5(without("data")), "it lacks data: use a file of robomimic"),
    "a demo without actions": (hdf5(without("data/demo_1/actions")), "it lacks data/demo_1/actions: use a file"),
    "a demo without an image": (hdf5(without("data/demo_1/obs/image")), "it lacks data/demo_1/obs/image"),
    "a group in obs": (
        hdf5(put("data/demo_0/obs/inner/x", actions())), "data/demo_0/obs/inner is a group, not an array: leave"),
    "an array for obs": (hdf5(put("data/demo_0/obs", actions())), "data/demo_0/obs is an array, not a group of them"),
    "an action alone": (hdf5(put("data/demo_1/actions", np.float32(1))), "data/demo_1/actions is a single number"),
    "a mask of numbers": (hdf5(put("mask/valid", np.array([1, 2]))), "mask/valid must hold the names of episodes"),
    "text for rewards": (hdf5(put("data/demo_1/rewards", b"high")), "demo_1 has 5 actions and no frames of reward"),
    "no demos": (hdf5(without(*(f"data/demo_{n}" for n in range(4)))), "it holds no episodes: use a file"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = MISTAKES[name]
    demos.refused(make(tmp_path), message)


@pytest.mark.parametrize("make", demos.MAKERS)
def test_an_unknown_observation_has_a_hint(make: demos.Maker, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no observation 'stat': did you mean state\? choose one of .*image"):
        read(make(tmp_path), ["stat"])


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("zarr", demos.make_zarr),
        ("h5py", demos.make_robomimic),
        ("pyarrow", demos.make_lerobot),
        ("av", demos.make_lerobot),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, make: demos.Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"need an extra: pip install 'shortcut-models\[demonstrations\]'"):
        read(path)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = demos.make_native(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made below a file
    with pytest.raises(UserError, match=r"cannot write the cache .*; set XDG_CACHE_HOME to a folder with room"):
        read(path)


def test_incomplete_episodes_are_not_written(tmp_path: Path) -> None:
    native.prepare_folder(tmp_path / "native", "push-t", {})
    for seen, done, message in (
        ({"state": states(4)}, actions(5), "there are 5 actions and 4 frames of state"),
        (
            {"state": states(5)},
            with_nan(actions(5), 2),
            r"action of episode 0 \(seed 7\) is NaN or infinite at frame 2",
        ),
        ({"state": states(0)}, actions(0), "episode 7 has no frames: remove it"),
        ({"image": pictures(5) / 2}, actions(5), "images of image are float64 from 0 to .*8 bits do not hold exactly"),
    ):
        with pytest.raises(UserError, match=message):
            native.write_episode(tmp_path / "native", 7, seen, done, 0.0)
    assert [path.name for path in (tmp_path / "native").iterdir()] == [native.HEADER]


def test_another_environments_demonstrations_are_not_mixed_in(tmp_path: Path) -> None:
    path = demos.make_native(tmp_path)
    with pytest.raises(UserError, match="holds demonstrations of push-t, not of car-racing: choose another folder"):
        native.prepare_folder(path, "car-racing", {})
    (tmp_path / "full").mkdir()
    text_file(tmp_path / "full")
    with pytest.raises(UserError, match="is not empty and does not hold demonstrations: choose another folder"):
        native.prepare_folder(tmp_path / "full", "car-racing", {})


def test_demonstrations_made_in_python_are_checked_too() -> None:
    with pytest.raises(UserError, match="there are no episodes"):
        Demonstrations({}, actions(0), np.zeros(0, np.int64))
    with pytest.raises(UserError, match="action of episode 1 is NaN or infinite at frame 0: correct"):
        Demonstrations({}, with_nan(actions(6), 3), np.array([3, 6]))
    for facts, message in (
        ({"returns": np.ones(3)}, r"there are 2 episodes, and returns \[3\]: write one for each"),
        ({"seeds": np.arange(1)}, r"there are 2 episodes, and seeds \[1\]: write one for each"),
    ):
        with pytest.raises(UserError, match=message):
            Demonstrations({}, actions(6), np.array([3, 6]), **facts)
    with pytest.raises(UserError, match=r"there are 6 actions and no frames of fps"):
        Demonstrations({"fps": np.float32(1) * np.ones(())}, actions(6), np.array([3, 6]))


def test_other_data_beside_the_episodes_is_ignored(tmp_path: Path) -> None:
    path = hdf5(put("data/total", np.int64(33)))(tmp_path)
    assert len(read(path)) == 4
