"""LeRobot data sets, format v3: Parquet files and videos, each with several episodes.

- `meta/info.json`: the features, frames per second, and the names of the files;
- `meta/episodes/**.parquet`: for each episode its length, and for each camera its video and its start in it;
- `data/**.parquet`: a row per frame, with `action`, `observation.NAME`, `episode_index`, `frame_index`, `next.reward`;
- `videos/KEY/**.mp4`: the frames of a camera, one episode after another.

`observation.state` is called `state` here, `observation.images.top` is `top`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ...errors import UserError
from .episodes import Demonstrations
from .frames import Block, cache_images, cache_key, import_extra, select_names, stack_vectors
from .parquet import Columns

INFO = "meta/info.json"
_BLOCK_FRAMES = 128  # frames of a video in memory at a time


def read(folder: Path, names: Sequence[str] = ()) -> Demonstrations:
    """Read all episodes of a data set; see `demonstrations.read`."""
    info = _info(folder)
    features = {_short_name(key): key for key in info["features"] if key.startswith("observation.")}
    wanted = {name: features[name] for name in select_names(names, list(features))}
    in_videos = {key for key in wanted.values() if info["features"][key]["dtype"] == "video"}
    possible = ("action", "next.reward", *wanted.values())
    columns = [key for key in possible if key in info["features"] and key not in in_videos]
    table = Columns(folder / "data", ["episode_index", "frame_index", *columns])
    order = np.lexsort((table.numbers("frame_index"), table.numbers("episode_index")))
    episodes, lengths = np.unique(table.numbers("episode_index")[order], return_counts=True)
    _check_whole(folder, info, episodes, lengths, table.numbers("frame_index")[order])
    ends = np.cumsum(lengths)
    actions = stack_vectors("action", [Block("data", len(order), table.array("action")[order])])
    observations = {}
    for name, key in wanted.items():
        kind = info["features"][key]["dtype"]
        if kind == "video":
            camera = _Camera(folder, info, key, episodes.tolist(), lengths.tolist())
            observations[name] = cache_images(name, camera.key, camera.blocks)
        elif kind == "image":
            files = sorted((folder / "data").rglob("*.parquet"))
            blocks = lambda key=key: (Block(f"frame {row}", 1, table.image(key, row)[None]) for row in order.tolist())
            observations[name] = cache_images(name, cache_key(files, name), blocks)
        else:
            observations[name] = stack_vectors(name, [Block("data", len(order), table.array(key)[order])])
    rewards = table.array("next.reward")[order].reshape(-1).astype(np.float64) if "next.reward" in columns else None
    returns = None if rewards is None else np.add.reduceat(rewards, ends - lengths)
    return Demonstrations(observations, actions, ends, returns=returns)


def _info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / INFO).read_bytes())
        version, features = str(info["codebase_version"]), info["features"]
        for key in ("action", *(key for key in features if key.startswith("observation."))):
            str(features[key]["dtype"])
        info["fps"] = float(info["fps"])
        for key in ("total_episodes", "total_frames"):
            info[key] = int(info[key])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{INFO} is damaged, or lacks {error}: copy the data set again") from None
    if not version.startswith("v3"):
        raise UserError(f"this LeRobot data set has format {version}: convert it to v3.0 with LeRobot's converter")
    return info


def _check_whole(
    folder: Path, info: dict[str, Any], episodes: np.ndarray, lengths: np.ndarray, frames: np.ndarray
) -> None:
    """Raise UserError if frames or whole episodes are missing; `episodes`, `lengths` and `frames` are in order."""
    index = Columns(folder / "meta" / "episodes", ["episode_index", "length"])
    expected = dict(zip(index.numbers("episode_index").tolist(), index.numbers("length").tolist(), strict=True))
    parts = np.split(frames, np.cumsum(lengths)[:-1])
    for number, length, found in zip(episodes.tolist(), lengths.tolist(), parts, strict=True):
        if not np.array_equal(found, np.arange(length)):
            frame = int(np.argmax(found != np.arange(length)))
            raise UserError(
                f"frame {frame} of episode {number} is missing or duplicated in data: copy the data set again"
            )
        if expected.get(number) != length:
            raise UserError(
                f"episode {number} has {length} frames in data and {expected.get(number, 'none')} in meta/episodes: "
                f"copy the data set again"
            )
    for what, count in (("episodes", len(episodes)), ("frames", len(frames))):
        if info[f"total_{what}"] != count:
            raise UserError(f"data holds {count} of {info[f'total_{what}']} {what}: copy the data set again")


def _short_name(key: str) -> str:
    """Return top for observation.images.top; other dots become underscores, as networks cannot name parts with dots."""
    return key.removeprefix("observation.").removeprefix("images.").replace(".", "_")


class _Camera:
    """One camera: which video each episode is in, and where."""

    def __init__(self, folder: Path, info: dict[str, Any], key: str, episodes: list[int], lengths: list[int]) -> None:
        self.rate, self.lengths, self.numbers = info["fps"], lengths, episodes
        columns = [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        index = Columns(folder / "meta" / "episodes", ["episode_index", *columns])
        rows = {int(number): row for row, number in enumerate(index.numbers("episode_index"))}
        missing = [number for number in episodes if number not in rows]
        if missing:
            raise UserError(f"meta/episodes lacks episode {missing[0]}: copy the data set again")
        chunks, files, starts = (index.numbers(name) for name in columns)
        pattern = str(info.get("video_path"))
        self.videos, self.starts = [], []
        for row in map(rows.__getitem__, episodes):
            named = pattern.format(video_key=key, chunk_index=int(chunks[row]), file_index=int(files[row]))
            self.videos.append(folder / named)
            self.starts.append(round(float(starts[row]) * self.rate))
        parts = repr(list(zip(self.videos, self.starts, lengths, strict=True)))
        self.key = cache_key(sorted(set(self.videos)), parts)

    def blocks(self) -> Iterator[Block]:
        video: _Video | None = None
        for number, path, start, length in zip(self.numbers, self.videos, self.starts, self.lengths, strict=True):
            if video is None or video.path != path or video.position > start:
                video = _Video(path, self.rate)
            for first in range(0, length, _BLOCK_FRAMES):
                count = min(_BLOCK_FRAMES, length - first)
                yield Block(f"episode {number}", count, video.frames(start + first, count))


class _Video:
    """A video that is decoded once, from its start; `rate` is the data set's number of frames per second."""

    def __init__(self, path: Path, rate: float) -> None:
        import_extra("av", "videos")
        self.path, self.rate, self.position = path, rate, 0
        self._decoded = self._decode()

    def frames(self, start: int, count: int) -> UInt8[np.ndarray, "count height width 3"]:
        """Return the frames start, ..., start + count - 1, which must come after those of the last call."""
        found: list[np.ndarray] = []
        while len(found) < count:
            try:
                number, pixels = next(self._decoded)
            except StopIteration:
                raise UserError(
                    f"the video {self.path.name} ends at frame {self.position}, before frame {start + len(found)}: "
                    f"copy it again"
                ) from None
            self.position = number + 1
            if number == start + len(found):
                found.append(pixels)
            elif number > start + len(found):
                raise UserError(
                    f"the video {self.path.name} lacks frame {start + len(found)} at {self.rate:g} frames a second: "
                    f"record it again"
                )
        return np.stack(found)

    def _decode(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield every frame with its number, computed from its time."""
        import av

        try:
            with av.open(str(self.path)) as container:
                for frame in container.decode(video=0):
                    yield round(float(frame.time or 0.0) * self.rate), frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError, IndexError) as error:
            raise UserError(f"the video {self.path.name} cannot be decoded ({error}): copy it again") from None
