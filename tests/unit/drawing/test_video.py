"""Videos read back by other programs: every frame is there, of the right size, time and colour."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from shortcut_models.drawing.video import GIF_WIDTH, check_video, rate_of, width_of, write_video
from shortcut_models.errors import UserError

pytestmark = pytest.mark.needs_extra


def bars(count: int, height: int = 41, width: int = 63) -> Iterator[np.ndarray]:
    """A red bar that grows on grey."""
    for i in range(count):
        frame = np.full((height, width, 3), 128, np.uint8)
        frame[:, : i * width // count] = (220, 20, 40)
        yield frame


def test_an_mp4_has_every_frame_at_an_even_size(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    write_video(tmp_path / "a.mp4", bars(30), 20)
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (64, 42)
        assert stream.average_rate == 20
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    assert len(frames) == 30
    for frame, meant in zip(frames, bars(30), strict=True):
        assert np.abs(frame[:41, :63].astype(int) - meant).mean() < 8
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def gif_of(path: Path) -> list[tuple[np.ndarray, int]]:
    """Frames as they are shown, and the milliseconds of each."""
    with Image.open(path) as file:
        assert file.info["loop"] == 0
        shown = ImageSequence.Iterator(file)
        return [(np.asarray(frame.convert("RGB")), int(frame.info["duration"])) for frame in shown]


def test_a_gif_shows_the_very_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.gif", bars(100), 10)
    found = gif_of(tmp_path / "a.gif")
    expected = list(bars(100))
    distinct = [i for i in range(100) if i == 0 or (expected[i] != expected[i - 1]).any()]
    assert len(found) == len(distinct)
    for (frame, milliseconds), i, following in zip(found, distinct, [*distinct[1:], 100], strict=True):
        assert np.abs(frame.astype(int) - expected[i]).max() <= 1
        assert milliseconds == 100 * (following - i)


def test_colours_that_come_later_are_near_those_of_the_first_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (80, 8, 8, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    write_video(tmp_path / "a.gif", iter(pictures), 10)
    found = gif_of(tmp_path / "a.gif")
    assert len(found) == 80
    assert (
        np.mean([np.abs(frame.astype(int) - picture) for (frame, _), picture in zip(found, pictures, strict=True)]) < 40
    )


def test_frames_of_an_mp4_are_not_held(tmp_path: Path) -> None:
    """Of a long video, few frames are alive at a time."""
    import weakref

    pytest.importorskip("av")
    alive: weakref.WeakSet[Holder] = weakref.WeakSet()
    most = 0

    class Holder(np.ndarray):
        """An array that can be watched."""

        __hash__ = object.__hash__

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for frame in bars(100):
            held = frame.view(Holder)
            alive.add(held)
            most = max(most, len(alive))
            yield held

    write_video(tmp_path / "a.mp4", frames(), 10)
    assert most <= 4


@pytest.mark.parametrize("name", ["a.gif", "a.mp4"])
def test_a_video_that_fails_half_way_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    if name == "a.mp4":
        pytest.importorskip("av")
    (tmp_path / name).write_text("old")

    def broken() -> Iterator[np.ndarray]:
        yield from bars(70)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_video(tmp_path / name, broken(), 10)
    assert (tmp_path / name).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_gif_is_slow_and_small() -> None:
    assert (rate_of(Path("a.gif"), 50), rate_of(Path("a.gif"), 8), rate_of(Path("a.mp4"), 50)) == (10, 8, 50)
    assert width_of(Path("a.gif")) == GIF_WIDTH < width_of(Path("a.mp4"))


@pytest.mark.parametrize("name", ["a.avi", "a", "a.MP4"])
def test_other_names_are_one_clear_line(name: str) -> None:
    with pytest.raises(UserError, match=r"must end in \.mp4 or \.gif"):
        check_video(Path(name))


def test_a_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # type: ignore[arg-type]
    check_video(Path("a.gif"))
    with pytest.raises(UserError, match=r"pip install 'shortcut-models\[video\]', or choose a .gif"):
        check_video(Path("a.mp4"))
