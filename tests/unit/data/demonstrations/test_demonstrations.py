"""Every format gives the same demonstrations, and published ones are read as they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers import demonstrations as demos
from helpers.demonstrations import ENDS, MAKERS, Maker, actions, pictures, states
from helpers.paths import SHARED
from shortcut_models.data.demonstrations import Demonstrations, native, read
from shortcut_models.system.files import cache_folder

pytestmark = pytest.mark.needs_extra

PUSH_T = SHARED / "data" / "pusht_cchi_v7_replay.zarr.zip"
LIFT = os.environ.get("ROBOMIMIC_LIFT", "")


def same(found: Demonstrations, names: tuple[str, ...] = ("image", "state")) -> None:
    assert set(found.observations) >= set(names)
    for name, truth in (("image", pictures()), ("state", states())):
        if name in names:
            assert found.observations[name].dtype == truth.dtype
            np.testing.assert_array_equal(found.observations[name], truth)
    np.testing.assert_array_equal(found.actions, actions())
    np.testing.assert_array_equal(found.ends, ENDS)
    assert (found.actions.dtype, found.ends.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("make", MAKERS)
def test_every_format_has_the_same_demonstrations(make: Maker, tmp_path: Path) -> None:
    path = make(tmp_path)
    found = read(path)
    same(found)
    assert isinstance(found.observations["image"], np.memmap)
    if found.returns is not None:
        np.testing.assert_allclose(found.returns, demos.RETURNS)
    some = read(str(path), ["state"])
    same(some, ("state",))
    assert set(some.observations) == {"state"}


def test_facts_that_only_some_formats_have(tmp_path: Path) -> None:
    ours = read(demos.make_native(tmp_path))
    assert ours.environment == "push-t"
    assert ours.seeds is not None
    assert ours.seeds.tolist() == [100, 101, 102, 103]
    assert read(demos.make_robomimic(tmp_path)).environment == "robomimic-lift"
    buffer = read(demos.make_zarr(tmp_path))
    assert (buffer.returns, buffer.seeds, buffer.environment) == (None, None, "")
    np.testing.assert_array_equal(buffer.observations["keypoint"], np.tile(states()[:, :2], 3))


@pytest.mark.parametrize("make", MAKERS)
def test_images_are_decoded_once(make: Maker, tmp_path: Path) -> None:
    path = make(tmp_path)
    read(path)
    (kept,) = cache_folder("demonstrations").glob("*.uint8")
    kept.write_bytes(bytes(kept.stat().st_size))  # so that frames from the cache are black
    assert not read(path).observations["image"].any()
    kept.write_bytes(b"too short")
    same(read(path))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = demos.make_native(tmp_path)
    read(path)
    seen = {"image": 255 - pictures(12), "state": states(12)}
    native.write_episode(path, 100, seen, actions(12), 3.0)
    found = read(path)
    np.testing.assert_array_equal(found.observations["image"][:12], 255 - pictures(12))
    assert native.read_scores(path) == {100: 3.0, 101: demos.RETURNS[1], 102: demos.RETURNS[2], 103: demos.RETURNS[3]}


def test_seeds_of_more_digits_come_after_the_others(tmp_path: Path) -> None:
    native.prepare_folder(tmp_path, "", {})
    for seed in (123_456_789, 5, 99_999_999):
        native.write_episode(tmp_path, seed, {"state": states(4)}, actions(4) + seed % 7, 0.0)
    assert sorted(path.name for path in tmp_path.glob("*.npz"))[0] == "episode_00000005.npz"
    found = read(tmp_path)
    assert found.seeds is not None
    assert found.seeds.tolist() == [5, 99_999_999, 123_456_789]
    assert not list(tmp_path.glob(".*"))
    native.prepare_folder(tmp_path, "", {"another": "expert"})  # the header stays
    assert json.loads((tmp_path / native.HEADER).read_text())["expert"] == {}


def test_a_robomimic_file_names_its_held_out_episodes(tmp_path: Path) -> None:
    path = demos.make_robomimic(tmp_path)
    with h5py.File(path, "r+") as file:
        file["mask/valid"] = np.array([b"demo_2"])
        file["mask/train"] = np.array([b"demo_0", b"demo_3"])
    found = read(path)
    assert found.held_out is not None
    assert found.held_out.tolist() == [1]
    assert found.split(0.5) == ([0, 2], [1])
    assert found.ends.tolist() == [12, 21, 28]


def test_the_layout_of_transport(tmp_path: Path) -> None:
    """Two arms, each with a camera at its shoulder and at its hand; an action has 14 numbers."""
    source = np.random.default_rng(0)
    names = [f"robot{arm}_{what}" for arm in (0, 1) for what in ("eef_pos", "eef_quat")]
    images = ["shouldercamera0_image", "shouldercamera1_image"]
    with h5py.File(tmp_path / "image.hdf5", "w") as file:
        for number, length in enumerate((6, 11, 8)):
            demo = file.create_group(f"data/demo_{10 * number}")
            demo["actions"] = source.normal(size=(length, 14))
            demo["obs/object"] = source.normal(size=(length, 41))
            for name in names:
                demo[f"obs/{name}"] = source.normal(size=(length, 3 if name.endswith("pos") else 4))
            for name in images:
                demo[f"obs/{name}"] = source.integers(0, 256, (length, 84, 84, 3), dtype=np.uint8)
        file["data"].attrs["env_args"] = json.dumps({"env_name": "TwoArmTransport"})
        truth = {name: np.concatenate([file[f"data/demo_{n}/obs/{name}"][()] for n in (0, 10, 20)]) for name in images}
    found = read(tmp_path / "image.hdf5", [*images, *names])
    assert found.environment == "robomimic-transport"
    assert (found.actions.shape, found.ends.tolist()) == ((25, 14), [6, 17, 25])
    assert [array.shape[1:] for array in found.observations.values()] == [(84, 84, 3)] * 2 + [(3,), (4,)] * 2
    for name in images:
        np.testing.assert_array_equal(found.observations[name], truth[name])


def test_lerobot_with_images_in_its_table(tmp_path: Path) -> None:
    path = demos.make_lerobot(tmp_path)
    demos.with_png_column(path)
    same(read(path))


def test_lerobot_with_episodes_out_of_order(tmp_path: Path) -> None:
    """Rows and videos are found by their numbers, in any order."""
    from pyarrow import parquet

    path = demos.make_lerobot(tmp_path)
    index = path / "meta/episodes/chunk-000/file-000.parquet"
    parquet.write_table(parquet.read_table(index).take([3, 1, 0, 2]), index)
    first, second = (path / f"data/chunk-000/file-{n:03d}.parquet" for n in (0, 1))
    first.rename(path / "data/chunk-000/file-002.parquet")
    assert second.exists()
    same(read(path))


def test_another_index_of_the_same_videos_gives_other_frames(tmp_path: Path) -> None:
    from pyarrow import parquet

    path = demos.make_lerobot(tmp_path)
    read(path)
    index = path / "meta/episodes/chunk-000/file-000.parquet"
    table = parquet.read_table(index)
    name = "videos/observation.images.image/from_timestamp"
    place = table.column_names.index(name)
    parquet.write_table(table.set_column(place, name, [[0.3, 1.2, 0.0, 0.9]]), index)
    np.testing.assert_array_equal(read(path).observations["image"][:12], pictures()[3:15])


def test_held_out_episodes_follow_from_the_seeds() -> None:
    def of(seeds: list[int]) -> set[int]:
        count = len(seeds)
        found = Demonstrations({}, actions(count), np.arange(1, count + 1), seeds=np.array(seeds))
        train, held_out = found.split(0.2)
        assert sorted(train + held_out) == list(range(count))
        assert len(held_out) == max(1, round(0.2 * count))
        return {seeds[i] for i in held_out}

    seeds = list(range(50))
    assert of(seeds) == of(seeds[::-1])
    assert len(of(seeds) - of([*seeds, 1000])) <= 1
    assert len(of([3, 4])) == 1


@pytest.mark.skipif(not PUSH_T.exists(), reason="needs ../shared/data/pusht_cchi_v7_replay.zarr.zip")
def test_the_published_demonstrations_of_push_t() -> None:
    found = read(PUSH_T, ["state", "keypoint"])
    assert (len(found), len(found.actions), int(found.ends[0])) == (206, 25650, 161)
    assert {name: array.shape[1] for name, array in found.observations.items()} == {"state": 5, "keypoint": 18}
    assert found.actions.min() >= 0
    assert found.actions.max() <= 512


@pytest.mark.skipif(not Path(LIFT).is_file(), reason="needs ROBOMIMIC_LIFT, the path of its test.hdf5")
def test_the_published_demonstrations_of_lift() -> None:
    found = read(LIFT, ["agentview_image", "object"])
    assert (len(found), len(found.actions), found.actions.shape[1]) == (10, 531, 7)
    assert found.observations["agentview_image"].shape == (531, 84, 84, 3)
    assert found.held_out is not None
    assert found.held_out.tolist() == [0, 4, 8]
