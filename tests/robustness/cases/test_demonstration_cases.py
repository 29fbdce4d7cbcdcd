"""Demonstrations as they are found in the world: each is read rightly, or refused in one line that helps."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
import zarr
from PIL import Image
from pyarrow import parquet

from helpers import demonstrations as demos
from helpers.demonstrations import ENDS, FRAMES, actions, pictures, states
from helpers.runs import refusal, shortcut
from shortcut_models.data.demonstrations import native, read
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.recipes.library import RECIPES, Recipe
from shortcut_models.tasks import Imitation
from shortcut_models.training.options import Training

pytestmark = [pytest.mark.usefixtures("annotations_unchecked"), pytest.mark.needs_extra]


def store_zarr(root: Path, images: np.ndarray) -> Path:
    group = zarr.open_group(str(root / "buffer.zarr"), mode="w", zarr_format=2)
    arrays = {"data/action": actions(), "data/state": states(), "data/camera": images, "meta/episode_ends": ENDS}
    for name, array in arrays.items():
        made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=array.shape)
        made[...] = array
    return root / "buffer.zarr"


def store_robomimic(root: Path, images: np.ndarray) -> Path:
    with h5py.File(root / "demo.hdf5", "w") as file:
        for number, rows in enumerate(demos.EPISODES):
            file[f"data/demo_{number}/actions"] = actions()[rows]
            file[f"data/demo_{number}/obs/camera"] = images[rows]
    return root / "demo.hdf5"


def store_native(root: Path, images: np.ndarray) -> Path:
    native.prepare_folder(root / "native", "", {})
    for number, rows in enumerate(demos.EPISODES):
        arrays: dict[str, Any] = {"observation.camera": images[rows], "action": actions()[rows]}
        np.savez(root / f"native/episode_{number:08d}.npz", **{"return": 0.0, "seed": number}, **arrays)
    return root / "native"


STORES = [store_zarr, store_robomimic, store_native]
Store = Callable[[Path, np.ndarray], Path]
depth = np.random.default_rng(0).uniform(0.1, 3, (FRAMES, 8, 8, 1))
whole = pictures(side=8)
DIM = np.arange(FRAMES * 64).reshape(FRAMES, 8, 8, 1) % 2  # nothing but 0 and 1
EXACT: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "uint8": (whole, whole),
    "floats from 0 to 255": (whole.astype(np.float32), whole),
    "half floats from 0 to 255": (whole.astype(np.float16), whole),
    "int64 from 0 to 255": (whole.astype(np.int64), whole),
    "uint16 below 256": (whole.astype(np.uint16), whole),
    "an almost black camera": ((whole > 254).astype(np.int64), (whole > 254).astype(np.uint8)),
}
SCALED: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "float32 of 1/255": ((whole / 255).astype(np.float32), whole),
    "float64 of 1/255": (whole / 255, whole),
    "float64 of float32": ((whole / np.float32(255)).astype(np.float64), whole),
    "float16 of 1/255": ((whole / 255).astype(np.float16), whole),
    "a mask of floats": (DIM.astype(np.float32), (255 * DIM).astype(np.uint8)),
}
LOSSY: dict[str, np.ndarray] = {
    "depth in metres": depth.astype(np.float32),
    "depth from 0 to 1": (depth / 4).astype(np.float32),
    "depth in millimetres": (1000 * depth).astype(np.uint16),
    "depth in whole metres beyond 8 bits": np.rint(300 * depth),
    "colours of 16 bits": whole.astype(np.uint16) * 257,
    "colours from -1 to 1": (whole / 127.5 - 1).astype(np.float32),
    "colours from 0 to 255 with fractions": whole + np.float32(0.25),
    "resized floats from 0 to 1": ((whole[:, :-1] / 255 + whole[:, 1:] / 255) / 2).astype(np.float32),
    "an infinite depth": np.where(depth < 0.2, np.inf, 1),
    "a missing depth": np.where(depth < 0.2, np.nan, 1),
    "truth values": whole > 9,
}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", EXACT)
def test_images_that_8_bits_hold_are_kept(name: str, store: Store, tmp_path: Path) -> None:
    stored, wanted = EXACT[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(store(tmp_path, stored), ["camera"]).observations["camera"], wanted)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", SCALED)
def test_multiples_of_1_255_are_scaled_and_that_is_said_each_time(name: str, store: Store, tmp_path: Path) -> None:
    stored, wanted = SCALED[name]
    path = store(tmp_path, stored)
    for _ in range(2):  # the second time from the cache
        with pytest.warns(UserWarning, match="images of camera are multiples of 1/255 .* were multiplied by 255"):
            found = read(path, ["camera"])
        np.testing.assert_array_equal(found.observations["camera"], wanted)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", LOSSY)
def test_images_that_would_be_rounded_are_refused(name: str, store: Store, tmp_path: Path) -> None:
    message = "camera hold bool, not numbers" if name == "truth values" else "camera are .* 8 bits do not hold exactly"
    demos.refused(store(tmp_path, LOSSY[name]), message)


@pytest.mark.parametrize("store", STORES)
def test_a_dark_episode_does_not_change_the_unit_of_the_others(store: Store, tmp_path: Path) -> None:
    images = whole.astype(np.float32)
    images[demos.EPISODES[0]] = DIM[demos.EPISODES[0]]
    np.testing.assert_array_equal(read(store(tmp_path, images), ["camera"]).observations["camera"], images)
    images[demos.EPISODES[0]] /= 255
    demos.refused(store(tmp_path, images), "camera are float32 from 0 to .*8 bits")


def test_episodes_are_not_written_with_images_that_would_be_rounded(tmp_path: Path) -> None:
    native.prepare_folder(tmp_path / "n", "", {})
    with refusal("images of depth are float64 from .* 8 bits do not hold exactly"):
        native.write_episode(tmp_path / "n", 1, {"depth": depth[:5]}, actions(5), 0.0)
    assert len(list((tmp_path / "n").iterdir())) == 1


def cells(path: Path, make: Callable[[int], Image.Image], kind: str) -> None:
    """Replace the images of a LeRobot data set's table."""
    for file in sorted((path / "data").rglob("*.parquet")):
        table = parquet.read_table(file)
        contents = []
        for row in table["index"].to_pylist():
            out = io.BytesIO()
            make(row).save(out, kind)
            contents.append({"bytes": out.getvalue(), "path": None})
        name = "observation.images.image"
        parquet.write_table(table.drop_columns([name]).append_column(name, pa.array(contents)), file)


@pytest.mark.parametrize(
    ("make", "kind", "mode"),
    [
        (lambda row: Image.fromarray(np.full((8, 8), 1000 + row, np.uint16)), "PNG", "I;16"),
        (lambda row: Image.fromarray(np.full((8, 8), row / 10, np.float32)), "TIFF", "F"),
        (lambda row: Image.fromarray(np.full((8, 8), 70_000 + row, np.int32)), "TIFF", "I"),
        (lambda row: Image.fromarray(np.full((8, 8, 4), row, np.uint8), "RGBA"), "PNG", "RGBA"),
    ],
)
def test_images_of_lerobot_tables_that_rgb_does_not_hold(
    make: Callable[[int], Image.Image], kind: str, mode: str, tmp_path: Path
) -> None:
    path = demos.make_lerobot(tmp_path)
    demos.with_png_column(path)
    cells(path, make, kind)
    demos.refused(path, f"image of frame 0 has pixels of mode {mode}, which 8-bit RGB")
    assert len(read(path, ["state"])) == 4


def test_opaque_and_grey_images_of_lerobot_tables_are_read(tmp_path: Path) -> None:
    path = demos.make_lerobot(tmp_path)
    demos.with_png_column(path)
    colour = lambda row: Image.fromarray(pictures()[row])
    for make in (lambda row: colour(row).convert("RGBA"), lambda row: colour(row).convert("L")):
        cells(path, make, "PNG")
        wanted = np.stack([np.asarray(make(row).convert("RGB")) for row in range(FRAMES)])
        np.testing.assert_array_equal(read(path).observations["image"], wanted)


def test_videos_of_depth_are_refused(tmp_path: Path) -> None:
    import av

    path = demos.make_lerobot(tmp_path)
    video = path / "videos/observation.images.image/chunk-000/file-000.mp4"
    with av.open(str(video), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "gray16le"
        for _ in range(17):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16), 3000, np.uint16), format="gray16le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    demos.refused(path, "file-000.mp4 has 16 bits per value .gray16le., and only 8 are read")


def use_codec(path: Path, name: str, codec: dict[str, Any], version: int) -> None:
    entry = path / "data" / name / (".zarray" if version == 2 else "zarr.json")
    facts = json.loads(entry.read_text())
    named = {"name": codec.pop("id"), "configuration": codec}
    facts |= {"compressor": {"id": named["name"]}} if version == 2 else {"codecs": [*facts["codecs"][:-1], named]}
    entry.write_text(json.dumps(facts))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize(
    ("codec", "install"),
    [
        ("imagecodecs_jpegxl", "pip install imagecodecs"),
        ("zfpy", r"pip install 'numcodecs\[zfpy\]'"),
        ("their_own", "install the package that has it"),
    ],
)
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_codec_that_is_missing_is_named(
    codec: str, install: str, consolidated: bool, version: int, tmp_path: Path
) -> None:
    group = zarr.open_group(str(tmp_path / "u.zarr"), mode="w", zarr_format=version)
    arrays = {"data/action": actions(), "data/state": states(), "data/rgb": whole, "meta/episode_ends": ENDS}
    for name, array in arrays.items():
        made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=array.shape)
        made[...] = array
    if consolidated:
        zarr.consolidate_metadata(str(tmp_path / "u.zarr"))
    use_codec(tmp_path / "u.zarr", "rgb", {"id": codec}, version)
    demos.refused(
        tmp_path / "u.zarr",
        rf"data/rgb needs the codec {codec}, which is not installed: {install}, or choose --task.ob",
    )
    found = read(tmp_path / "u.zarr", ["state"])
    np.testing.assert_array_equal(found.observations["state"], states())
    assert found.left_out == ("observations rgb",)


def test_arrays_that_are_not_wanted_are_not_opened(tmp_path: Path) -> None:
    path = demos.make_zarr(tmp_path)
    (path / "data/img/.zarray").write_text("{")
    assert set(read(path, ["state"]).observations) == {"state"}
    demos.refused(path, "damaged")


@pytest.mark.parametrize("short", range(10))
def test_a_short_episode_is_never_the_one_that_is_held_out(short: int, tmp_path: Path) -> None:
    native.prepare_folder(tmp_path / "n", "", {})
    for seed in range(10):
        length = 1 if seed == short else 30
        native.write_episode(tmp_path / "n", seed, {"state": states(length)}, actions(length), 0.0)
    with pytest.warns(UserWarning, match="1 of 10 episodes in .* have fewer than 5 frames, and are left out"):
        task = Imitation(str(tmp_path / "n")).resolve()
    assert (len(task.dataset("train")), len(task.dataset("test"))) == (8 * 26, 26)
    assert "; left out: 1 episode of fewer than 5 frames" in task.describe_data()


@pytest.mark.parametrize(
    ("lengths", "held_out", "message"),
    [
        ([1, 30, 2], [], "1 of 3 episodes in .* have 5 frames or more; one to train on and one to hold out are needed"),
        ([1, 1, 2], [], "0 of 3 episodes in .* have 5 frames or more"),
        (
            [1, 30, 30],
            [0],
            "2 of 3 episodes in .* have 5 frames or more, 0 of them held out by the data itself; one to train",
        ),
        (
            [30, 1, 1],
            [0],
            "1 of 3 episodes in .* have 5 frames or more, 1 of them held out by the data itself; one to train",
        ),
    ],
)
def test_too_few_episodes_with_windows(lengths: list[int], held_out: list[int], message: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        for number, length in enumerate(lengths):
            file[f"data/demo_{number}/actions"] = actions(length)
            file[f"data/demo_{number}/obs/state"] = states(length)
        if held_out:
            file["mask/valid"] = np.array([f"demo_{number}".encode() for number in held_out])
    with refusal(message):
        Imitation(str(tmp_path / "d.hdf5")).resolve()


def test_an_empty_demo_is_named(tmp_path: Path) -> None:
    path = store_robomimic(tmp_path, whole)
    with h5py.File(path, "r+") as file:
        del file["data/demo_2"]
        file["data/demo_2/actions"], file["data/demo_2/obs/camera"] = actions(0), whole[:0]
    demos.refused(path, "demo_2 has no frames: remove it")


def replace(path: Path, make: Callable[[Path], Path], root: Path) -> None:
    """Put other content in the place of a file or of a folder's files, with the times of before."""
    root.mkdir()
    new = make(root)
    pairs = [(new, path)] if new.is_file() else [(f, path / f.relative_to(new)) for f in new.rglob("*") if f.is_file()]
    for source, target in pairs:
        held = target.stat()
        os.replace(source, target)
        os.utime(target, ns=(held.st_atime_ns, held.st_mtime_ns))


@pytest.mark.parametrize("store", [store_zarr, store_robomimic])
def test_files_that_were_replaced_with_size_and_time_kept_are_read_again(store: Store, tmp_path: Path) -> None:
    dark, grey = np.full_like(whole, 100), np.full_like(whole, 200)
    path = store(tmp_path, dark)
    assert read(path, ["camera"]).observations["camera"].max() == 100
    replace(path, lambda root: store(root, grey), tmp_path / "new")
    assert read(path, ["camera"]).observations["camera"].min() == 200


def test_a_file_that_was_written_in_place_with_its_time_kept_is_read_again(tmp_path: Path) -> None:
    path = store_robomimic(tmp_path, np.zeros_like(whole))
    read(path, ["camera"])
    held = path.stat()
    with h5py.File(path, "r+") as file:
        for number in range(4):
            file[f"data/demo_{number}/obs/camera"][...] = 200
    os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns))
    assert read(path, ["camera"]).observations["camera"].min() == 200


def test_images_in_files_beside_the_data_are_watched(tmp_path: Path) -> None:
    """A file of robomimic that links to another, and a LeRobot table that names files of images."""
    store_robomimic(tmp_path, np.zeros_like(whole))
    with h5py.File(tmp_path / "link.hdf5", "w") as file:
        for number, rows in enumerate(demos.EPISODES):
            file[f"data/demo_{number}/actions"] = actions()[rows]
            file[f"data/demo_{number}/obs/camera"] = h5py.ExternalLink("demo.hdf5", f"data/demo_{number}/obs/camera")
    assert read(tmp_path / "link.hdf5").observations["camera"].max() == 0
    (tmp_path / "demo.hdf5").unlink()
    store_robomimic(tmp_path, np.full_like(whole, 200))
    assert read(tmp_path / "link.hdf5").observations["camera"].min() == 200

    path = demos.make_lerobot(tmp_path)
    demos.with_png_column(path)
    for file in sorted((path / "data").rglob("*.parquet")):
        table = parquet.read_table(file).drop_columns(["observation.images.image"])
        paths = pa.array([{"bytes": None, "path": f"pictures/{row}.png"} for row in table["index"].to_pylist()])
        parquet.write_table(table.append_column("observation.images.image", paths), file)
    (path / "pictures").mkdir()
    for value in (0, 200):
        for row in range(FRAMES):
            Image.new("RGB", (8, 8), (value, value, value)).save(path / f"pictures/{row}.png")
        assert float(read(path).observations["image"].mean()) == value


def lerobot(root: Path, **facts: Any) -> Path:
    """A data set of LeRobot with other facts in its info, or without them where they are None."""
    path = demos.make_lerobot(root)
    held = json.loads((path / "meta/info.json").read_text()) | facts
    (path / "meta/info.json").write_text(json.dumps({key: fact for key, fact in held.items() if fact is not ...}))
    return path


NUMBERS = {"dtype": "float32", "shape": [2]}
SEEN = {"observation.state": {"dtype": "float32", "shape": [3]}}
VIDEO = {"observation.images.image": {"dtype": "video", "shape": [16, 16, 3]}}
INFOS: dict[str, tuple[dict[str, Any], str]] = {
    "parts of actions": (
        {"features": {"action.joints": NUMBERS, "action.gripper": NUMBERS, **SEEN}},
        "no feature `action`, only action.joints, action.gripper, observation.state: join action.joints, "
        "action.gripper in one column `action`"),
    "actions": ({"features": {"actions": NUMBERS, **SEEN}}, "only actions, observation.state: join actions in one col"),
    "no actions": ({"features": SEEN}, "no feature `action`, only observation.state: write one column `action`"),
    "no observations": (
        {"features": {"action": NUMBERS, "state": NUMBERS}}, "it has no observation.NAME, only action, state: rename"),
    "no features": ({"features": ...}, "info.json lists no features: copy the data set again"),
    "features in a list": ({"features": ["action"]}, "info.json lists no features"),
    "a feature without a type": ({"features": {"action": {}, **SEEN}}, "info.json does not say the dtype of action"),
    "version 2.0": ({"codebase_version": "v2.0"}, "format v2.0, not v3.0: convert it with LeRobot's converters"),
    "version 2.1 without actions": ({"codebase_version": "v2.1", "features": SEEN}, "format v2.1, not v3.0: convert"),
    "no version": ({"codebase_version": ...}, "this LeRobot data set has format without a number, not v3.0"),
    "no rate": ({"fps": ...}, "meta/info.json has fps null: write there how many frames per second"),
    "a null rate": ({"fps": None}, "meta/info.json has fps null: write there how many frames per second"),
    "a rate of nothing": ({"fps": 0}, "meta/info.json has fps 0: write there"),
    "a rate in words": ({"fps": "fast"}, 'meta/info.json has fps "fast": write there'),
    "no total": ({"total_frames": ...}, "must say a whole number for total_frames, not nothing: copy"),
    "a null total": ({"total_episodes": None}, "must say a whole number for total_episodes, not null: copy"),
    "a state of another size": (
        {"features": {"action": NUMBERS, "observation.state": {"dtype": "float32", "shape": [7]}}},
        r"gives observation.state the shape \[7\], and its rows in data have 3 numbers: correct one"),
    "actions of another size": (
        {"features": {"action": {"dtype": "float32", "shape": [2, 2]}, **SEEN}}, r"action the shape \[2, 2\], and its"),
    "videos elsewhere": ({"video_path": "videos/{camera}.mp4"}, "has video_path .*camera.*: write 'videos/"),
}  # fmt: skip


@pytest.mark.parametrize("name", INFOS)
def test_lerobot_sets_that_lack_something(name: str, tmp_path: Path) -> None:
    facts, message = INFOS[name]
    demos.refused(lerobot(tmp_path, **facts), message)


def test_a_lerobot_set_without_videos_needs_no_rate(tmp_path: Path) -> None:
    path = lerobot(tmp_path, fps=None)
    found = read(path, ["state"])
    assert (found.fps, found.left_out) == (None, ("observations image",))
    assert read(lerobot(tmp_path / "other", video_path=None)).fps == 10


@pytest.mark.parametrize("environment", ["", "push-t"])
def test_the_advice_after_training_works(environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run = tmp_path / "mine", tmp_path / "run"
    native.prepare_folder(folder, environment, {})
    for seed in range(3):
        native.write_episode(folder, seed, {"state": states(9)}, actions(9), 0.0)
    training = Training(train_steps=2, warmup=1, batch_size=4, device="cpu", sample_every=2)
    recipe = Recipe("a policy", Imitation(), MLPConfig(width=16, depth=1), FlowMatching(max_steps=2), training)
    monkeypatch.setitem(RECIPES, "policy", recipe)
    outcome = shortcut("train", "policy", "--run", run, "--data", folder)
    assert outcome.code == 0
    assert f"{folder}: 2 episodes to train on (18 frames), 1 held out (9 frames), state 3 numbers" in outcome.err
    assert "shortcut rollout" in outcome.out
    assert ("--environment ENV" in outcome.out) == (not environment)
    for words in re.findall(r"`shortcut ([^`]+)`", outcome.out):
        assert words.startswith("rollout") or shortcut(*shlex.split(words)).code == 0
    refused = shortcut("sample", run, "--out", tmp_path / "s.npz")
    assert ("shortcut plot-chunks" in refused.err) == (not environment)


def store_vectors(root: Path, **arrays: Any) -> Path:
    """A file of robomimic with four episodes of 12 frames; an array may be a function of the episode's number."""
    given = {"actions": actions(12), "state": states(12)} | arrays
    with h5py.File(root / "demo.hdf5", "w") as file:
        for number in range(4):
            for name, array in given.items():
                place = "actions" if name == "actions" else f"obs/{name}"
                file[f"data/demo_{number}/{place}"] = array(number) if callable(array) else array
    return root / "demo.hdf5"


VECTORS: dict[str, tuple[dict[str, Any], str]] = {
    "NaN actions": (
        {"actions": lambda n: np.where((actions(12) == 3) & (n == 2), np.nan, actions(12))},
        "action of episode 2 is NaN or infinite at frame 6"),
    "other widths": ({"actions": lambda n: np.zeros((12, 2 + n))}, "action is 3 in demo_1 and 2 in demo_0: use one"),
    "numbers beyond float32": (
        {"actions": actions(12).astype(np.float64) * 1e300}, "demo_0: action holds numbers beyond .*: rescale it"),
    "actions without numbers": ({"actions": np.zeros((12, 0))}, "the frames of action hold no numbers"),
    "states without numbers": ({"state": np.zeros((12, 0))}, "the frames of state hold no numbers"),
    "text": ({"state": np.array([b"pick"] * 12)}, "state holds .S4, not numbers: choose --task.observations"),
    "a record": ({"state": np.zeros(12, [("a", "f4")])}, "not numbers: choose --task.observations without it"),
    "a method's name": ({"forward": states(12)}, "is called 'forward', as a method of networks: rename it, or choose"),
    "an attribute's name": ({"training": states(12)}, "is called 'training', as a method of networks"),
    "a dot": ({"arm.pos": states(12)}, "without dots and brackets, or choose --task.observations without it"),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_odd_numbers_are_refused(name: str, tmp_path: Path) -> None:
    arrays, message = VECTORS[name]
    demos.refused(store_vectors(tmp_path, **arrays), message)


def test_numbers_that_float32_rounds_are_told(tmp_path: Path) -> None:
    times = 1_700_000_000_000_000_000 + np.arange(12)[:, None] * 100
    with pytest.warns(UserWarning, match="1 of 1 numbers of time vary too little .* for float32, and are rounded"):
        read(store_vectors(tmp_path, time=times))


@pytest.mark.filterwarnings("error")
def test_constant_large_and_tiny_numbers_are_read_and_described(tmp_path: Path) -> None:
    odd = np.stack([np.arange(12) * 1e-9, np.full(12, 1e6), np.tile([-3e38, 3e38], 6)], 1)
    line = Imitation(str(store_vectors(tmp_path, actions=odd)), chunk=4, execute=2).resolve().describe_data()
    assert "action 3 numbers from -3e+38 to 3e+38 (1 constant, 1 not scaled, varying by less than 0.0001)" in line


def own(root: Path) -> Path:
    native.prepare_folder(root / "n", "", {})
    for seed in range(4):
        native.write_episode(root / "n", seed, {"state": states(12)}, actions(12), 0.0)
    return root / "n"


def spoil(change: Callable[[bytearray], None]) -> demos.Maker:
    def make(root: Path) -> Path:
        file = own(root) / "episode_00000001.npz"
        content = bytearray(file.read_bytes())
        change(content)
        file.write_bytes(content)
        return file.parent

    return make


def with_bytes(marker: bytes, offset: int, value: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        place = content.find(marker)
        while place >= 0:
            content[place + offset] = value
            place = content.find(marker, place + 1)

    return change


def pointer(make: demos.Maker, pattern: str) -> demos.Maker:
    """Files as Git LFS leaves them until it is asked for their content."""

    def change(root: Path) -> Path:
        path = make(root)
        for file in [path] if path.is_file() else path.rglob(pattern):
            file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n")
        return path

    return change


def objects(root: Path) -> Path:
    arrays: dict[str, Any] = {"observation.state": np.array([[1, None]] * 12), "action": actions(12)}
    np.savez(own(root) / "episode_00000000.npz", **{"return": 0.0, "seed": 0}, **arrays)
    return root / "n"


def same_seed(root: Path) -> Path:
    shutil.copy(own(root) / "episode_00000001.npz", root / "n/episode_00000007.npz")
    return root / "n"


def parent_of(make: demos.Maker) -> demos.Maker:
    return lambda root: make(root).parent


def pipe(root: Path) -> Path:
    os.mkfifo(root / "demo.hdf5")
    return root / "demo.hdf5"


def link_to_nothing(place: str) -> demos.Maker:
    def make(root: Path) -> Path:
        path = store_vectors(root)
        with h5py.File(path, "r+") as file:
            if place in file:
                del file[place]
            file[place] = h5py.ExternalLink("gone.hdf5", "nothing")
        return path

    return make


def empty(root: Path) -> Path:
    (root / "demo.hdf5").write_bytes(b"")
    return root / "demo.hdf5"


FILES: dict[str, tuple[demos.Maker, str]] = {
    "objects": (objects, "episode_00000000.npz holds Python objects: write numbers of one size"),
    "one seed twice": (same_seed, "episode_00000001.npz and episode_00000007.npz have the same seed 1: remove one"),
    "an unknown compression": (spoil(with_bytes(b"PK\1\2", 10, 99)), "episode_00000001.npz is damaged .*not supported"),
    "an empty file": (empty, "this file does not hold demonstrations of a known format"),
    "a pipe": (pipe, "this is neither a file nor a folder"),
    "a device": (lambda root: Path("/dev/null"), "this is neither a file nor a folder"),
    "the folder of a file": (parent_of(store_vectors), "this folder holds demo.hdf5, not .*: choose one of these"),
    "the folder of a zip": (parent_of(demos.make_zarr_zip), "this folder holds buffer.zarr.zip, not .*: choose one"),
    "the folder of a data set": (parent_of(demos.make_lerobot), "this folder holds lerobot, not .*: choose one"),
    "a dead link to an episode": (link_to_nothing("data/demo_9"), "the file is damaged .*copy it again"),
    "a dead link to an array": (link_to_nothing("data/demo_1/obs/state"), "the file is damaged .*copy it again"),
    "pointers to tables": (pointer(demos.make_lerobot, "*.parquet"), "is a Git LFS pointer, not the data: run `git"),
    "pointers to videos": (pointer(demos.make_lerobot, "*.mp4"), "file-00..mp4 is a Git LFS pointer"),
    "a pointer to a file": (pointer(demos.make_robomimic, ""), "demo.hdf5 is a Git LFS pointer"),
    "a pointer to an episode": (pointer(demos.make_native, "*101.npz"), "episode_00000101.npz is a Git LFS pointer"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_odd_files_are_refused(name: str, tmp_path: Path) -> None:
    make, message = FILES[name]
    demos.refused(make(tmp_path), message)


def linked(make: demos.Maker, *places: str) -> demos.Maker:
    """Demonstrations of which some parts are links."""

    def change(root: Path) -> Path:
        path = make(root)
        for number, place in enumerate(places):
            shutil.move(path / place, root / str(number))
            (path / place).symlink_to((root / str(number)).resolve())
        return path

    return change


def in_a_zip(root: Path) -> Path:
    demos.make_zarr(root / "outer/inner")
    return Path(shutil.make_archive(str(root / "named"), "zip", root / "outer")).rename(root / "no suffix")


def version_3(root: Path) -> Path:
    group = zarr.open_group(str(root / "three.zarr"), mode="w", zarr_format=3)
    arrays = {"data/action": actions(), "data/state": states(), "data/img": pictures(), "meta/episode_ends": ENDS}
    for name, array in arrays.items():
        group.create_array(name, shape=array.shape, dtype=array.dtype)[...] = array
    return root / "three.zarr"


def in_unicode(root: Path) -> Path:
    return demos.make_robomimic(root / "d\u00e9mos \u6a5f\u5668\u4eba, 2")


def beside_files_of_macos(root: Path) -> Path:
    path = demos.make_lerobot(root)
    for folder in [path, *(folder for folder in path.rglob("*") if folder.is_dir())]:
        (folder / "._file-000.parquet").write_bytes(b"x")
        (folder / ".DS_Store").write_bytes(b"x")
    return path


def read_only(root: Path) -> Path:
    path = demos.make_native(root)
    path.chmod(0o555)
    return path


@pytest.mark.parametrize(
    "make",
    [
        linked(demos.make_zarr, "data/img", "data/state/0.0"),
        linked(demos.make_lerobot, "data"),
        linked(demos.make_lerobot, "data/chunk-000", "videos/observation.images.image/chunk-000", "meta"),
        linked(demos.make_native, "episode_00000101.npz"),
        in_a_zip,
        version_3,
        in_unicode,
        beside_files_of_macos,
        read_only,
    ],
)
def test_odd_places_are_read_as_others(make: demos.Maker, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read(make(tmp_path), ["image", "state"])
    np.testing.assert_array_equal(found.observations["image"], pictures())
    np.testing.assert_array_equal(found.observations["state"], states())
    np.testing.assert_array_equal(found.actions, actions())


def test_what_some_episodes_have_besides_is_told(tmp_path: Path) -> None:
    path = store_vectors(tmp_path)
    with h5py.File(path, "r+") as file:
        file["data/demo_3/obs/extra"] = states(12)
    native.write_episode(own(tmp_path), 3, {"state": states(12), "extra": states(12)}, actions(12), 0.0)
    for each in (path, tmp_path / "n"):
        assert read(each).left_out == ("observations extra",)


@pytest.mark.parametrize("name", ["action", "img"])
def test_missing_chunks_of_a_replay_buffer_are_told(name: str, tmp_path: Path) -> None:
    path = demos.make_zarr(tmp_path)
    next((path / "data" / name).glob("1.*")).unlink()
    with pytest.warns(UserWarning, match=f"1 of 4 chunks of data/{name} are missing and are read as 0.0: copy"):
        read(path)


def test_masks_of_robomimic(tmp_path: Path) -> None:
    path = store_vectors(tmp_path)
    with h5py.File(path, "r+") as file:
        file["mask/train"] = np.array([b"demo_0", b"demo_2"])
    assert read(path).split(0.1) == ([0, 2], [1, 3])
    with h5py.File(path, "r+") as file:
        file["mask/valid"] = np.array([b"demo_1", b"demo_77"])
    found = read(path)
    assert found.split(0.1) == ([0, 2], [1])
    neither, gone = found.left_out
    assert neither == "1 episode in neither mask/train nor mask/valid"
    assert gone == "episodes demo_77 of a mask, which are not in data"
