"""LeRobot data sets, format v3: Parquet files and videos that hold several episodes each.

- `meta/info.json`: the features, frames a second, and how the files are named;
- `meta/episodes/**.parquet`: for each episode its length, and for each camera the video and the time that it begins at;
- `data/**.parquet`: a row a frame, with `action`, `observation.NAME`, `episode_index`, `frame_index`, `next.reward`;
- `videos/KEY/**.mp4`: the frames of a camera, one episode after another.

`observation.state` is called `state` here, `observation.images.top` is `top`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .episodes import Demonstrations
from .frames import Part, cache_key, chosen, images, vectors
from .parquet import Columns
from .video_reader import Video

INFO = "meta/info.json"
_AT_ONCE = 128
"""frames of a video that are held in memory"""


def read(folder: Path, names: Sequence[str] = ()) -> Demonstrations:
    """All episodes of a data set; see `demonstrations.read`."""
    info = _info(folder)
    features = {_short(key): key for key in info["features"] if key.startswith("observation.")}
    wanted = {name: features[name] for name in chosen(names, list(features))}
    in_videos = {key for key in wanted.values() if info["features"][key]["dtype"] == "video"}
    columns = [
        key for key in ("action", "next.reward", *wanted.values()) if key in info["features"] and key not in in_videos
    ]
    table = Columns(folder / "data", ["episode_index", "frame_index", *columns])
    order = np.lexsort((table.numbers("frame_index"), table.numbers("episode_index")))
    episodes, lengths = np.unique(table.numbers("episode_index")[order], return_counts=True)
    _check_whole(folder, info, episodes, lengths, table.numbers("frame_index")[order])
    ends = np.cumsum(lengths)
    actions = vectors("action", [Part("data", len(order), table.array("action")[order])])
    observations = {}
    for name, key in wanted.items():
        kind = info["features"][key]["dtype"]
        if kind == "video":
            filmed = _Filmed(folder, info, key, episodes.tolist(), lengths.tolist())
            observations[name] = images(name, filmed.key, filmed.parts)
        elif kind == "image":
            files = sorted((folder / "data").rglob("*.parquet"))
            parts = lambda key=key: (Part(f"frame {row}", 1, table.picture(key, row)[None]) for row in order.tolist())
            observations[name] = images(name, cache_key(files, name), parts)
        else:
            observations[name] = vectors(name, [Part("data", len(order), table.array(key)[order])])
    returns = None
    if "next.reward" in columns:
        rewards = table.array("next.reward")[order].reshape(-1)
        returns = np.add.reduceat(rewards.astype(np.float64), np.concatenate([[0], ends[:-1]]))
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
        raise UserError(f"this LeRobot data set is of format {version}: bring it to v3.0 with LeRobot's converter")
    return info


def _check_whole(
    folder: Path, info: dict[str, Any], episodes: np.ndarray, lengths: np.ndarray, frames: np.ndarray
) -> None:
    """Raise UserError where frames of an episode, or whole ones, are not there. All that is given is in order."""
    index = Columns(folder / "meta" / "episodes", ["episode_index", "length"])
    said = dict(zip(index.numbers("episode_index").tolist(), index.numbers("length").tolist(), strict=True))
    for number, length, found in zip(
        episodes.tolist(), lengths.tolist(), np.split(frames, np.cumsum(lengths)[:-1]), strict=True
    ):
        if not np.array_equal(found, np.arange(length)):
            frame = int(np.argmax(found != np.arange(length)))
            raise UserError(
                f"frame {frame} of episode {number} is missing or there twice in data: copy the data set again"
            )
        if said.get(number) != length:
            raise UserError(
                f"episode {number} has {length} frames in data and {said.get(number, 'none')} in meta/episodes: "
                f"copy the data set again"
            )
    for what, count in (("episodes", len(episodes)), ("frames", len(frames))):
        if info[f"total_{what}"] != count:
            raise UserError(f"data holds {count} of {info[f'total_{what}']} {what}: copy the data set again")


def _short(key: str) -> str:
    """observation.images.top -> top; what dots remain would not do as the name of a part of a network."""
    return key.removeprefix("observation.").removeprefix("images.").replace(".", "_")


class _Filmed:
    """One camera's frames: which video each episode is in, and where."""

    def __init__(self, folder: Path, info: dict[str, Any], key: str, episodes: list[int], lengths: list[int]) -> None:
        self.rate, self.lengths, self.numbers = info["fps"], lengths, episodes
        facts = [f"videos/{key}/{fact}" for fact in ("chunk_index", "file_index", "from_timestamp")]
        index = Columns(folder / "meta" / "episodes", ["episode_index", *facts])
        rows = {int(number): row for row, number in enumerate(index.numbers("episode_index"))}
        missing = [number for number in episodes if number not in rows]
        if missing:
            raise UserError(f"meta/episodes lacks episode {missing[0]}: copy the data set again")
        chunks, files, starts = (index.numbers(fact) for fact in facts)
        pattern = str(info.get("video_path"))
        self.videos, self.starts = [], []
        for row in map(rows.__getitem__, episodes):
            named = pattern.format(video_key=key, chunk_index=int(chunks[row]), file_index=int(files[row]))
            self.videos.append(folder / named)
            self.starts.append(round(float(starts[row]) * self.rate))

    @property
    def key(self) -> str:
        """Stands for the frames: the videos, and what is taken out of them."""
        return cache_key(sorted(set(self.videos)), repr(list(zip(self.videos, self.starts, self.lengths, strict=True))))

    def parts(self) -> Iterator[Part]:
        video: Video | None = None
        for number, path, start, length in zip(self.numbers, self.videos, self.starts, self.lengths, strict=True):
            if video is None or video.path != path or video.place > start:
                video = Video(path, self.rate)
            for first in range(0, length, _AT_ONCE):
                count = min(_AT_ONCE, length - first)
                yield Part(f"episode {number}", count, video.frames(start + first, count))
