"""Animations are read back, pixel by pixel: every end is where its snapshot says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from helpers.pixels import centre, figures_drawn, where
from shortcut_models.drawing.style import rainbow
from shortcut_models.errors import UserError
from shortcut_models.reports.animation import SIDE, TOP, animate, gif, rainbow_frames

ENDS = np.array([[0.5, 0.25], [0.0, 0.5], [-0.5, -0.75], [1.0, -1.0]])
"""of one noise in 1, 2, 4 and 8 steps"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of the four Gaussians with three snapshots; in the last one the chain has closed."""
    task = {"name": "toy", "distribution": "four-gaussians", "size": 3000}
    parts: dict[str, Any] = {"network": {}, "objective": {}, "training": {}}
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "four-gaussians", "task": task, **parts}))
    (tmp_path / "snapshots").mkdir()
    for step, part in ((1, 1.0), (10, 0.5), (100, 0.0)):
        ema = (ENDS[-1] + part * (ENDS - ENDS[-1]))[:, None].astype(np.float32)
        np.savez(tmp_path / "snapshots" / f"step_{step:08d}.npz", ema=ema, raw=-ema[-1], noise=ema[0])
    return tmp_path


def on_frame(point: np.ndarray) -> np.ndarray:
    """The pixel of a point, in the window of the four Gaussians: 1.5 to all sides of the origin."""
    return np.array([point[0] + 1.5, 1.5 - point[1]]) / 3 * SIDE + [0, TOP]


def test_the_rainbow_shows_each_end_in_its_place_and_colour(run: Path) -> None:
    first, _, last = (frame.crop((0, 0, SIDE, TOP + SIDE)) for frame in rainbow_frames(run))
    for end, colour in zip(ENDS, rainbow(4), strict=True):
        assert np.allclose(centre(first, colour), on_frame(end), atol=1)
    assert np.allclose(centre(last, rainbow(4)[-1]), on_frame(ENDS[-1]), atol=1)
    pixels = np.asarray(last).astype(int)
    rows, columns = np.nonzero(np.ptp(pixels, axis=-1) > 60)  # all that is neither white, grey nor black
    assert np.abs(np.stack([columns, rows], 1) - on_frame(ENDS[-1])).max() < 8


def test_animate_writes_two_small_gifs_that_rest_at_the_end(run: Path, tmp_path: Path) -> None:
    paths = animate(run, tmp_path / "made.gif")
    assert paths == [tmp_path / "made.gif", tmp_path / "made-flow.gif"]
    assert not list(tmp_path.glob(".*"))
    for path in paths:
        frames = [frame.copy() for frame in ImageSequence.Iterator(Image.open(path))]
        assert [frame.info["duration"] for frame in frames] == [100, 100, 2000]
        assert frames[0].info["loop"] == 0
        assert path.stat().st_size < 3 * 2**20 / 60
    for frame, made in zip(ImageSequence.Iterator(Image.open(paths[0])), rainbow_frames(run), strict=True):
        gap = np.abs(np.asarray(frame.convert("RGB")).astype(int) - np.asarray(made).astype(int))
        assert np.asarray(frame.convert("RGB"))[0, 0].tolist() == [255, 255, 255]
        assert (gap.max(-1) > 40).mean() < 0.001
    flow = Image.open(paths[1])
    flow.seek(2)
    columns, _ = where(flow.convert("RGB"), rainbow(4)[-1], 60)
    assert columns.min() < SIDE < columns.max()  # a panel each for the raw weights and their average


def test_frames_follow_the_training(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = figures_drawn(monkeypatch)
    list(rainbow_frames(run))
    assert len(seen) == 3
    for figure, step, part in zip(seen, (1, 10, 100), (1.0, 0.5, 0.0), strict=True):
        (axes,) = figure.axes
        ends = ENDS[-1] + part * (ENDS - ENDS[-1])
        _, chain, *dots = axes.collections  # first the real points
        assert np.allclose(chain.get_segments(), [ends])
        assert np.allclose([dot.get_offsets()[0] for dot in dots], ends)
        assert np.allclose([dot.get_facecolor()[0, :3] for dot in dots], rainbow(4))
        gap = np.linalg.norm(ends[0] - ends[-1])
        texts = [text.get_text() for text in figure.texts]
        assert f"training step {step}" in texts
        assert f"ends in 1 and in 8 steps are {gap:.3f} apart on average" in texts


def test_a_task_from_outside_has_no_background_but_an_animation(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"task": {"name": None, "class": "mine.Rings"}}))
    assert len(list(rainbow_frames(run))) == 3


def shaped(run: Path) -> None:
    np.savez(run / "snapshots" / "step_00000001.npz", ema=np.zeros((4, 1, 8, 8)), raw=np.zeros((1, 8, 8)))


def torn(run: Path) -> None:
    path = run / "snapshots" / "step_00000010.npz"
    path.write_bytes(path.read_bytes()[:100])


def none(run: Path) -> None:
    for path in (run / "snapshots").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(shaped, r"shape \[8, 8\]: choose a 2-D run"), (torn, "00000010.npz is damaged"), (none, "no snapshots")],
)
def test_runs_that_cannot_be_animated_say_why(run: Path, spoil: Any, message: str) -> None:
    spoil(run)
    with pytest.raises(UserError, match=message):
        animate(run, run / "out.gif")
    assert not list(run.glob("*.gif"))


def test_an_animation_is_a_gif(run: Path) -> None:
    with pytest.raises(UserError, match=r"made\.mp4"):
        animate(run, run / "made.mp4")


def test_a_gif_of_one_frame() -> None:
    assert Image.open(io.BytesIO(gif([Image.new("RGB", (8, 8), "white")]))).size == (8, 8)
