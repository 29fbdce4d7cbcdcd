"""LeRobot data sets that are wrong or incomplete raise one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from helpers import demonstrations as demos
from helpers.demonstrations import pictures

pytestmark = [pytest.mark.usefixtures("annotations_unchecked"), pytest.mark.needs_extra]


def lerobot(change: Callable[[Path], None]) -> demos.Maker:
    def make(root: Path) -> Path:
        path = demos.make_lerobot(root)
        change(path)
        return path

    return make


def info(**facts: Any) -> demos.Maker:
    def change(path: Path) -> None:
        held = json.loads((path / "meta/info.json").read_text()) | facts
        (path / "meta/info.json").write_text(json.dumps(held))

    return lerobot(change)


def column(name: str, change: Callable[[Any], Any] | None, both: bool = False) -> demos.Maker:
    """A LeRobot data set with another column, or without it, in the second file, or in both."""

    def spoil(path: Path) -> None:
        for file in sorted((path / "data").rglob("*.parquet"))[0 if both else 1 :]:
            table = parquet.read_table(file)
            kept = table.drop_columns([name])
            parquet.write_table(
                kept if change is None else kept.append_column(name, [change(table[name].to_pylist())]), file
            )

    return lerobot(spoil)


def rows(change: Callable[[Any], Any]) -> demos.Maker:
    """A LeRobot data set with other rows in the second file, which has episodes 2 and 3."""

    def spoil(path: Path) -> None:
        file = path / "data/chunk-000/file-001.parquet"
        parquet.write_table(change(parquet.read_table(file)), file)

    return lerobot(spoil)


VIDEO = "videos/observation.images.image/chunk-000/file-001.mp4"
MISTAKES: dict[str, tuple[demos.Maker, str]] = {
    "an older LeRobot": (info(codebase_version="v2.1"), "has format v2.1, not v3.0: convert it with `python -m le"),
    "info without features": (info(features={}), "meta/info.json lists no features: copy the data set again"),
    "a video that does not decode": (
        lerobot(lambda path: demos.cut(path / VIDEO)), "the video file-001.mp4 cannot be decoded .*copy it again"),
    "a video that is too short": (
        lerobot(lambda path: demos.film(path / VIDEO, pictures(3))),
        "the video file-001.mp4 ends at frame 3, before frame 3: copy it again"),
    "a video that is gone": (lerobot(lambda path: (path / VIDEO).unlink()), "cannot read .*file-001.mp4: No such"),
    "truncated Parquet": (
        lerobot(lambda path: demos.cut(path / "data/chunk-000/file-001.parquet")), "1.parquet is damaged .*copy"),
    "no column of actions": (column("action", None), "file-001.parquet lacks the column action: copy"),
    "ragged actions": (
        column("action", lambda rows: [[1.0], *rows[1:]]), "action must hold equally many .* row: correct"),
    "actions that are ragged inside": (
        column("action", lambda rows: [[[1.0, 2.0], [3.0]], *[[[4.0], [5.0, 6.0]]] * (len(rows) - 1)], both=True),
        "action must hold equally many numbers"),
    "several numbers for an episode": (
        column("episode_index", lambda rows: [[row, row] for row in rows], both=True),
        "episode_index must hold one number in every row: copy"),
    "an empty cell": (column("action", lambda rows: [None, *rows[1:]]), "action must hold equally many numbers"),
    "a file of data that is gone": (
        lerobot(lambda path: (path / "data/chunk-000/file-001.parquet").unlink()), "data holds 2 of 4 episodes: copy"),
    "frames that are gone": (rows(lambda table: pa.concat_tables([table.slice(0, 2), table.slice(4)])),
        "frame 2 of episode 2 is missing or duplicated in data: copy"),
    "the last frames are gone": (rows(lambda table: table.slice(0, len(table) - 1)),
        "episode 3 has 6 frames in data and 7 in meta/episodes: copy"),
    "frames that are there twice": (rows(lambda table: pa.concat_tables([table, table.slice(0, 1)])),
        "frame 1 of episode 2 is missing or duplicated"),
    "fewer frames than in the header": (info(total_frames=40), "data holds 33 of 40 frames: copy"),
    "no episodes' index": (
        lerobot(lambda path: (path / "meta/episodes/chunk-000/file-000.parquet").unlink()), "no .parquet files in ep"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_lerobot_sets_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = MISTAKES[name]
    demos.refused(make(tmp_path), message)
