"""The same demonstrations in every format, made of numbers that identify their frames."""

from __future__ import annotations

import fractions
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pyarrow as pa
import zarr
from pyarrow import parquet

from shortcut_models.data.demonstrations import native, read
from shortcut_models.system.files import cache_folder

from .runs import refusal

LENGTHS = (12, 5, 9, 7)
ENDS = np.cumsum(LENGTHS)
FRAMES = int(ENDS[-1])
SIDE = 16
EPISODES = [range(end - length, end) for end, length in zip(ENDS.tolist(), LENGTHS, strict=True)]


def actions(frames: int = FRAMES) -> np.ndarray:
    """Half the number of the frame, and its negative."""
    return np.stack([np.arange(frames) / 2, -np.arange(frames) / 2], 1).astype(np.float32)


def states(frames: int = FRAMES) -> np.ndarray:
    """The number of the frame, its square, and a constant."""
    return np.stack([np.arange(frames), np.arange(frames) ** 2, np.full(frames, 7)], 1).astype(np.float32)


def pictures(frames: int = FRAMES, side: int = SIDE) -> np.ndarray:
    """Noise, all of it different."""
    return np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)


RETURNS = [float(actions()[list(rows), 0].sum()) for rows in EPISODES]


def make_native(root: Path) -> Path:
    native.prepare_folder(root / "native", "push-t", {"name": "a person"})
    for number, rows in enumerate(EPISODES):
        seen = {"image": pictures()[rows], "state": states()[rows]}
        native.write_episode(root / "native", 100 + number, seen, actions()[rows], RETURNS[number])
    return root / "native"


def make_zarr(root: Path) -> Path:
    group = zarr.open_group(str(root / "buffer.zarr"), mode="w", zarr_format=2)
    arrays = {
        "data/action": actions(), "data/state": states(), "data/img": pictures().astype(np.float32),
        "data/keypoint": np.stack([states()[:, :2]] * 3, 1), "meta/episode_ends": ENDS,
    }  # fmt: skip
    for name, array in arrays.items():
        made = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=(10, *array.shape[1:]))
        made[:] = array
    return root / "buffer.zarr"


def make_zarr_zip(root: Path) -> Path:
    folder = make_zarr(root / "inside")
    return Path(shutil.make_archive(str(root / "buffer.zarr"), "zip", folder.parent))


def make_robomimic(root: Path, environment: str = "Lift") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "demo.hdf5", "w") as file:
        for number, rows in enumerate(EPISODES):
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"] = actions()[rows].astype(np.float64)
            demo["rewards"] = actions()[rows][:, 0].astype(np.float64)
            demo["obs/image"] = pictures()[rows]
            demo["obs/state"] = states()[rows].astype(np.float64)
        file["data"].attrs["env_args"] = json.dumps({"env_name": environment})
    return root / "demo.hdf5"


def film(path: Path, frames: np.ndarray, rate: int = 10) -> None:
    """A video without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"crf": "0"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.time_base = "rgb24", fractions.Fraction(1, rate)
        for number, frame in enumerate(frames):
            made = av.VideoFrame.from_ndarray(frame, format="rgb24")
            made.pts, made.time_base = number, fractions.Fraction(1, rate)
            container.mux(stream.encode(made))
        container.mux(stream.encode())


def _table(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)


def make_lerobot(root: Path) -> Path:
    """Two files of each kind, the first with the episodes 0 and 1."""
    root, rate = root / "lerobot", 10
    cut, order = int(ENDS[1]), np.arange(FRAMES)
    episode = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    frame = np.concatenate([np.arange(length) for length in LENGTHS])
    for number, rows in enumerate((order[:cut], order[cut:])):
        columns: dict[str, Any] = {
            "observation.state": pa.FixedSizeListArray.from_arrays(states()[rows].ravel(), 3),
            "action": list(actions()[rows]), "next.reward": actions()[rows, 0], "timestamp": frame[rows] / rate,
            "episode_index": episode[rows], "frame_index": frame[rows], "index": rows, "task_index": 0 * rows,
        }  # fmt: skip
        _table(root / f"data/chunk-000/file-{number:03d}.parquet", columns)
        film(root / f"videos/observation.images.image/chunk-000/file-{number:03d}.mp4", pictures()[rows], rate)
    begins = np.array([rows.start for rows in EPISODES])
    file = np.array([0, 0, 1, 1])
    key = "videos/observation.images.image"
    facts = {
        "episode_index": np.arange(4), "length": np.array(LENGTHS), "dataset_from_index": begins,
        "dataset_to_index": ENDS, "data/chunk_index": 0 * file, "data/file_index": file, f"{key}/chunk_index": 0 * file,
        f"{key}/file_index": file, f"{key}/from_timestamp": (begins - cut * file) / rate,
        f"{key}/to_timestamp": (ENDS - cut * file) / rate,
    }  # fmt: skip
    _table(root / "meta/episodes/chunk-000/file-000.parquet", facts)
    number = {"dtype": "float32", "names": None}
    features = {
        "observation.state": number | {"shape": [3]}, "action": number | {"shape": [2]},
        "observation.images.image": {"dtype": "video", "shape": [SIDE, SIDE, 3]},
        "next.reward": number | {"shape": [1]}, "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    }  # fmt: skip
    info = {
        "codebase_version": "v3.0", "fps": rate, "features": features, "total_episodes": 4, "total_frames": FRAMES,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "splits": {"train": "0:4"},
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


Maker = Callable[[Path], Path]
MAKERS: list[Maker] = [make_native, make_zarr, make_zarr_zip, make_robomimic, make_lerobot]


def cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def with_png_column(root: Path) -> None:
    """Turn the videos of a LeRobot data set into images in its table."""
    from PIL import Image

    for path in sorted((root / "data").rglob("*.parquet")):
        table = parquet.read_table(path)
        cells = []
        for row in table.column("index").to_pylist():
            content = io.BytesIO()
            Image.fromarray(pictures()[row]).save(content, "PNG")
            cells.append({"bytes": content.getvalue(), "path": None})
        parquet.write_table(table.append_column("observation.images.image", pa.array(cells)), path)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.image"]["dtype"] = "image"
    (root / "meta/info.json").write_text(json.dumps(info))
    shutil.rmtree(root / "videos")


def refused(path: Path, message: str) -> None:
    """Check that reading it raises one line with the message, and leaves no partial files."""
    with refusal(message):
        read(path)
    assert not list(cache_folder("demonstrations").glob(".*")), "partial files were left"
