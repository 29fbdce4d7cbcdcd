"""LeRobot data sets, format v3: Parquet files and videos, each with several episodes.

- `meta/info.json`: the features, frames per second, and the names of the files;
- `meta/episodes/**.parquet`: for each episode its length, and for each camera its video and its start in it;
- `data/**.parquet`: a row per frame, with `action`, `observation.NAME`, `episode_index`, `frame_index`, `next.reward`;
- `videos/KEY/**.mp4`: the frames of a camera, one episode after another.

`observation.state` is called `state` here, `observation.images.top` is `top`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ...errors import UserError
from .episodes import Demonstrations
from .frames import Block, cache_images, cache_key, import_extra, names_left, select_names, stack_vectors
from .parquet import Columns, parquet_files

INFO = "meta/info.json"
_VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_CONVERTER = "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30"
_BLOCK_FRAMES = 128  # frames of a video in memory at a time


def read(folder: Path, names: Sequence[str] = ()) -> Demonstrations:
    """Read all episodes of a data set; see `demonstrations.read`."""
    info = _info(folder)
    features = {_short_name(key): key for key in info["features"] if key.startswith("observation.")}
    if not features:
        raise UserError(f"it has no observation.NAME, only {_list(info['features'])}: rename what the policy sees")
    wanted = {name: features[name] for name in select_names(names, list(features))}
    in_videos = {key for key in wanted.values() if info["features"][key]["dtype"] == "video"}
    possible = ("action", "next.reward", *wanted.values())
    rate = _rate(info, required=bool(in_videos))
    columns = [key for key in possible if key in info["features"] and key not in in_videos]
    table = Columns(folder / "data", ["episode_index", "frame_index", *columns])
    order = np.lexsort((table.numbers("frame_index"), table.numbers("episode_index")))
    episodes, lengths = np.unique(table.numbers("episode_index")[order], return_counts=True)
    _check_whole(folder, info, episodes, lengths, table.numbers("frame_index")[order])
    ends = np.cumsum(lengths)
    actions = stack_vectors("action", [Block("data", len(order), _vector(info, table, "action")[order])])
    observations = {}
    for name, key in wanted.items():
        kind = info["features"][key]["dtype"]
        if kind == "video":
            camera = _Camera(folder, info, key, episodes.tolist(), lengths.tolist())
            observations[name] = cache_images(name, camera.key, camera.blocks)
        elif kind == "image":
            files = parquet_files(folder / "data") + table.image_files(key)
            blocks = lambda key=key: (Block(f"frame {row}", 1, table.image(key, row)[None]) for row in order.tolist())
            observations[name] = cache_images(name, cache_key(files, name), blocks)
        else:
            observations[name] = stack_vectors(name, [Block("data", len(order), _vector(info, table, key)[order])])
    rewards = table.array("next.reward")[order].reshape(-1).astype(np.float64) if "next.reward" in columns else None
    returns = None if rewards is None else np.add.reduceat(rewards, ends - lengths)
    left_out = names_left(features, wanted)
    return Demonstrations(observations, actions, ends, returns=returns, fps=rate, left_out=left_out)


def _info(folder: Path) -> dict[str, Any]:
    """Return `meta/info.json` after checking version, features and totals."""
    try:
        info = json.loads((folder / INFO).read_bytes())
    except ValueError as error:
        raise UserError(f"{INFO} is damaged ({error}): copy the data set again") from None
    if not isinstance(info, dict):
        raise UserError(f"{INFO} does not describe a LeRobot data set: use the folder of one")
    version = str(info.get("codebase_version", "without a number"))
    if not version.startswith("v3"):
        by = f"`{_CONVERTER} --repo-id NAME`" if version == "v2.1" else "LeRobot's converters"
        raise UserError(f"this LeRobot data set has format {version}, not v3.0: convert it with {by}")
    features = info.get("features")
    if not isinstance(features, dict) or not features:
        raise UserError(f"{INFO} lists no features: copy the data set again")
    for key, feature in features.items():
        if not isinstance(feature, dict) or not isinstance(feature.get("dtype"), str):
            raise UserError(f"{INFO} does not say the dtype of {key}: copy the data set again")
    if "action" not in features:
        parts = [key for key in features if key.startswith("action")]
        join = f"join {_list(parts)} in" if parts else "write"
        raise UserError(f"it has no feature `action`, only {_list(features)}: {join} one column `action`")
    for key in ("total_episodes", "total_frames"):
        if not isinstance(info.get(key), int):
            said = json.dumps(info[key]) if key in info else "nothing"
            raise UserError(f"{INFO} must say a whole number for {key}, not {said}: copy the data set again")
    return info


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _rate(info: dict[str, Any], *, required: bool) -> float | None:
    """Return the frames per second; only videos need them."""
    try:
        rate = float(info["fps"])
    except (KeyError, TypeError, ValueError):
        rate = math.nan
    if math.isfinite(rate) and rate > 0:
        return rate
    if required:
        said = json.dumps(info.get("fps"))
        raise UserError(f"{INFO} has fps {said}: write there how many frames per second the videos have")
    return None


def _vector(info: dict[str, Any], table: Columns, key: str) -> np.ndarray:
    """Return a column of numbers, flattened, after checking its size against that of `info`."""
    found, shape = table.array(key), info["features"][key].get("shape")
    if isinstance(shape, list) and all(isinstance(side, int) for side in shape) and math.prod(shape) != found.shape[1]:
        raise UserError(
            f"{INFO} gives {key} the shape {shape}, and its rows in data have {found.shape[1]} numbers: correct one"
        )
    return found


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
        self.rate, self.lengths, self.numbers = float(info["fps"]), lengths, episodes
        columns = [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        index = Columns(folder / "meta" / "episodes", ["episode_index", *columns])
        rows = {int(number): row for row, number in enumerate(index.numbers("episode_index"))}
        missing = [number for number in episodes if number not in rows]
        if missing:
            raise UserError(f"meta/episodes lacks episode {missing[0]}: copy the data set again")
        chunks, files, starts = (index.numbers(name) for name in columns)
        pattern = str(info.get("video_path") or _VIDEOS)
        self.videos, self.starts = [], []
        for row in map(rows.__getitem__, episodes):
            try:
                named = pattern.format(video_key=key, chunk_index=int(chunks[row]), file_index=int(files[row]))
            except (KeyError, ValueError, IndexError):
                raise UserError(f"{INFO} has video_path {pattern!r}: write {_VIDEOS!r}") from None
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
                self._check_depth(container)
                for frame in container.decode(video=0):
                    yield round(float(frame.time or 0.0) * self.rate), frame.to_ndarray(format="rgb24")
        except (av.codec.codec.UnknownCodecError, av.DecoderNotFoundError) as error:
            raise UserError(f"PyAV cannot decode {self.path.name} ({error}): convert the video to H.264") from None
        except (av.FFmpegError, OSError, IndexError) as error:
            raise UserError(f"the video {self.path.name} cannot be decoded ({error}): copy it again") from None

    def _check_depth(self, container: Any) -> None:
        """Raise UserError for more than 8 bits a value: decoding as RGB would round depth and other measurements."""
        if not container.streams.video:
            raise UserError(f"{self.path.name} does not hold a video: copy it again")
        form = container.streams.video[0].codec_context.format
        bits = max((component.bits for component in form.components), default=0) if form is not None else 0
        if bits > 8:
            raise UserError(
                f"the video {self.path.name} has {bits} bits per value ({form.name}), and only 8 are read: convert it, "
                f"or choose --task.observations without it"
            )
