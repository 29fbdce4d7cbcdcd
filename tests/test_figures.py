"""Pictures are read back, pixel by pixel: what is drawn must lie where the numbers say."""

from __future__ import annotations

import colorsys
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor, nn

from shortcut_models import figures
from shortcut_models.animation import SIDE, TOP, animate, gif, rainbow_frames
from shortcut_models.base import Cond, Label, Network, T, X
from shortcut_models.errors import UserError
from shortcut_models.interpolation import interpolate
from shortcut_models.model import Model
from shortcut_models.objectives import FlowMatching
from shortcut_models.randomness import sample_noise
from shortcut_models.tasks import Toy

LEVELS = [f"d=1/{2**k}" for k in range(7)]


def where(picture: Image.Image, colour: tuple[float, ...], tolerance: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels of a colour."""
    rgb = np.array([round(255 * part) for part in colour])
    rows, columns = np.nonzero(np.abs(np.asarray(picture.convert("RGB")).astype(int) - rgb).max(-1) <= tolerance)
    return columns, rows


def centre(picture: Image.Image, colour: tuple[float, ...]) -> tuple[float, float]:
    columns, rows = where(picture, colour)
    assert len(columns), "no pixel of that colour"
    return columns.mean() + 0.5, rows.mean() + 0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_every_pixel_where_it_belongs(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 4, 6, channels), dtype=np.uint8)
    sheet = np.asarray(figures.grid(images, columns=3, scale=2))
    assert sheet.shape == (2 * 8 + 2, 3 * 12 + 2 * 2, 3)
    used = np.zeros(sheet.shape[:2], bool)
    for index, image in enumerate(images):
        top, left = index // 3 * 10, index % 3 * 14
        tile = sheet[top : top + 8, left : left + 12]
        assert np.array_equal(tile, np.broadcast_to(np.kron(image, np.ones((2, 2, 1), np.uint8)), tile.shape))
        used[top : top + 8, left : left + 12] = True
    assert (sheet[~used] == 255).all()


def test_grid_is_no_wider_than_its_images() -> None:
    assert figures.grid(np.zeros((2, 8, 8, 1), np.uint8), columns=16).size == (18, 8)


def test_the_rainbow_runs_from_red_to_purple() -> None:
    hues = [360 * colorsys.rgb_to_hsv(*colour)[0] for colour in figures.rainbow(8)]
    assert hues[0] > 340  # red
    assert hues[1:] == sorted(hues[1:])
    assert 270 < hues[-1] < 300  # purple
    expected = figures.rainbow(8)
    assert np.allclose([figures.colour_of(2**k, 128) for k in range(8)], expected, atol=0.01)
    assert figures.colour_of(1, 1) == expected[0]


def blue(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.asarray(picture).astype(int)
    rows, columns = np.nonzero((pixels[..., 2] > 120) & (pixels[..., 0] < 130))
    return columns, rows


def test_scatter_has_equal_axes_and_y_upwards() -> None:
    picture = figures.scatter(np.array([[-1.0, -1], [1, -1], [-1, 1]]))
    assert picture.width == picture.height
    columns, rows = blue(picture)
    left, low = columns < columns.mean() + 30, rows > rows.mean() - 30
    assert (left & low).any()
    assert (left & ~low).any()
    assert (~left & low).any()
    assert not (~left & ~low).any()
    across = columns[~left].mean() - columns[left].mean()
    upwards = rows[low].mean() - rows[~low].mean()
    assert across == pytest.approx(upwards, abs=1)


def test_scatter_is_not_led_astray_by_outliers() -> None:
    points = np.random.default_rng(0).normal(size=(1000, 2))
    points[:2] = [[1e9, 0], [np.nan, np.inf]]
    columns, rows = blue(figures.scatter(points))
    assert np.ptp(columns) > 300
    assert np.ptp(rows) > 300


@pytest.mark.parametrize("points", [np.zeros((0, 2)), np.full((3, 2), np.nan), np.ones((4, 2))])
def test_scatter_takes_points_without_extent(points: np.ndarray) -> None:
    assert figures.scatter(points).size == (480, 480)


def test_sets_of_points_can_be_compared_where_axes_are_shared() -> None:
    corners = np.array([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
    spread = lambda points, where: float(np.std(blue(figures.scatter(points, where))[0]))
    alone = [spread(scale * corners, None) for scale in (0.5, 1.0)]
    assert abs(alone[0] / alone[1] - 1) < 0.05  # each fills its own picture
    shared = [spread(scale * corners, corners) for scale in (0.5, 1.0)]
    assert abs(shared[0] / shared[1] - 0.5) < 0.05


@pytest.mark.parametrize("scale", [1e-3, 1.0, 37.0])
def test_the_window_is_round_and_holds_the_points(scale: float) -> None:
    points = scale * np.random.default_rng(1).uniform(-1, 1, (5000, 2))
    x, y, half = figures.window(points)
    inside = (np.abs(points - [x, y]) <= half).all(1)
    assert inside.all()
    assert half < 1.5 * scale
    assert figures.window(1.001 * points) == (x, y, half)


def test_stack_shows_every_picture_whole_and_in_order() -> None:
    colours = [(200, 40 + 20 * index, 30) for index in range(8)]
    sheet = figures.stack([f"{n}" for n in range(8)], [Image.new("RGB", (40, 40), colour) for colour in colours])
    assert 1 < sheet.width / sheet.height < 2.5
    places = []
    for colour in colours:
        columns, rows = where(sheet, tuple(part / 255 for part in colour), tolerance=0)
        assert len(columns) == 40 * 40
        places.append((rows.min(), columns.min()))
    assert places == sorted(places)


def test_stack_puts_wide_pictures_under_one_another() -> None:
    strips = [Image.new("RGB", (544, 34), "black")] * 3
    assert figures.stack(["1", "4", "128"], strips).width < 700


def log(step: int, **figures_: float) -> dict[str, Any]:
    levels = {name: 0.001 * 2**k for k, name in enumerate(LEVELS)}
    return {"step": step, "loss": 0.5, "flow": 1.0, **levels, **figures_}


def test_step_sizes_of_a_log_have_labels_from_one_to_the_finest() -> None:
    found = figures.step_size_losses(["step", "flow", "loss", "d=1/4", "d=1/1", "d=1/2"])
    assert [label for label, _ in found.values()] == ["d = 1", "d = 1/2", "d = 1/4", "d = 1/8"]
    assert list(found) == ["d=1/1", "d=1/2", "d=1/4", "flow"]
    assert [colour for _, colour in found.values()] == figures.rainbow(4)
    assert list(figures.step_size_losses(["flow", "loss"]).values()) == [("flow", figures.rainbow(8)[-1])]


def test_loss_curves_lie_in_the_order_of_the_losses() -> None:
    picture = figures.loss_curves([log(step, heldout_loss=0.4) for step in range(0, 1000, 50)])
    heights = []
    for colour in figures.rainbow(8):
        columns, rows = where(picture, colour, 20)
        curve = columns < 1300  # the legend is further right
        heights.append(np.median(rows[curve]))
    assert heights == sorted(heights, reverse=True)
    assert np.diff(heights[:-1]).std() < 2  # each loss is twice the one before: even steps on a log scale


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [log(1)],
        [log(1), {"step": 2, "skipped": 1}, log(3, loss=float("nan"))],
        [{"step": n, "loss": 0.0, "flow": 0.0} for n in range(5)],
        [{"step": n, "loss": 1.0, "mine": 2.0} for n in range(200)],
    ],
    ids=["empty", "one-line", "gaps", "zero", "own-names"],
)
def test_loss_curves_take_any_log(metrics: list[dict[str, Any]]) -> None:
    assert figures.loss_curves(metrics).width == 1500


def evaluation(**measures: list[float]) -> dict[str, Any]:
    rows = {str(2**k): {name: values[k] for name, values in measures.items()} | {"seconds": 0.1} for k in range(3)}
    return {"num": 10, "seed": 0, "guidance": 1.0, "step": 5, "steps": rows, "machine": {}}


def test_quality_is_drawn_in_the_colour_of_its_budget() -> None:
    picture = figures.quality_curves(evaluation(recall=[0.2, 0.5, 0.8]))
    places = [centre(picture, figures.colour_of(2**k, 4)) for k in range(3)]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x2 - x1 == pytest.approx(x3 - x2, abs=1)  # 1, 2 and 4 steps are evenly spaced
    assert y1 - y2 == pytest.approx(y2 - y3, abs=1)
    assert y1 - y3 > 100


def test_a_panel_for_every_measure_but_not_for_marks_and_seconds() -> None:
    found = evaluation(accuracy=[0.9] * 3, accuracy_real=[0.95] * 3, pixel_frechet=[3.0, 2, 1], odd=[float("nan")] * 3)
    assert figures.measures_of(found) == ["accuracy", "pixel_frechet", "odd"]
    assert figures.direction("pixel_frechet") == "lower is better"
    assert figures.direction("accuracy") == "higher is better"
    assert figures.direction("odd") == ""
    assert figures.quality_curves(found).width == 1500


def test_the_users_own_style_is_neither_used_nor_changed() -> None:
    points = np.random.default_rng(0).normal(size=(50, 2))
    before = figures.scatter(points)
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30.0}):
        assert figures.scatter(points).tobytes() == before.tobytes()
        assert mpl.rcParams["font.size"] == 30.0


def test_matplotlib_is_loaded_when_drawing_and_pyplot_never() -> None:
    code = (
        "import sys, numpy, shortcut_models.figures as f; assert 'matplotlib' not in sys.modules; "
        "f.scatter(numpy.zeros((1, 2))); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


ENDS = np.array([[0.5, 0.25], [0.0, 0.5], [-0.5, -0.75], [1.0, -1.0]])
"""of one noise in 1, 2, 4 and 8 steps"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of the four Gaussians with three snapshots; in the last one the chain has closed."""
    task = {"name": "toy", "distribution": "four-gaussians", "size": 3000}
    parts: dict[str, Any] = {"network": {}, "objective": {}, "training": {}}
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "four-gaussians", "task": task, **parts}))
    (tmp_path / "snapshots").mkdir()
    for step, share in ((1, 1.0), (10, 0.5), (100, 0.0)):
        ema = (ENDS[-1] + share * (ENDS - ENDS[-1]))[:, None].astype(np.float32)
        np.savez(tmp_path / "snapshots" / f"step_{step:08d}.npz", ema=ema, raw=-ema[-1], noise=ema[0])
    return tmp_path


def on_frame(point: np.ndarray) -> np.ndarray:
    """The pixel of a point, in the window of the four Gaussians: 1.5 to all sides of the origin."""
    return np.array([point[0] + 1.5, 1.5 - point[1]]) / 3 * SIDE + [0, TOP]


def test_the_rainbow_shows_each_end_in_its_place_and_colour(run: Path) -> None:
    first, _, last = (frame.crop((0, 0, SIDE, TOP + SIDE)) for frame in rainbow_frames(run))
    for end, colour in zip(ENDS, figures.rainbow(4), strict=True):
        assert np.allclose(centre(first, colour), on_frame(end), atol=1)
    assert np.allclose(centre(last, figures.rainbow(4)[-1]), on_frame(ENDS[-1]), atol=1)
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
    columns, _ = where(flow.convert("RGB"), figures.rainbow(4)[-1], 60)
    assert columns.min() < SIDE < columns.max()  # a panel each for the raw weights and their average


def test_frames_follow_the_training(run: Path) -> None:
    frames = list(rainbow_frames(run))
    gaps = [len(where(frame, figures.rainbow(4)[1])[0]) for frame in frames]
    assert len(frames) == 3
    assert gaps[0] > gaps[2]  # the orange dot of 2 steps ends up below the others


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
    [(shaped, r"shape \[8, 8\]: animate is for 2-D runs"), (torn, "00000010.npz is damaged"), (none, "no snapshots")],
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


class Still(Network):
    """Leaves the noise where it is, and remembers the labels it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor, self.labels = nn.Parameter(torch.zeros(())), torch.empty(0)

    def encode(self, cond: Cond, drop: Tensor | None = None) -> None:
        self.labels = cond.get("label", self.labels)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        return torch.zeros_like(x)


class Seen(Toy):
    """A task whose samples are kept instead of drawn."""

    shape = (1000,)
    conditions: ClassVar[dict[str, Label]] = {"label": Label(3)}
    samples: ClassVar[list[np.ndarray]] = []

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        self.samples[:] = [samples.reshape(-1, columns, *self.shape)]
        return Image.new("RGB", (1, 1))


@pytest.fixture
def still() -> Iterator[Model]:
    yield Model(Still(), FlowMatching(max_steps=4), Seen())
    Seen.samples.clear()


def test_interpolation_goes_from_one_noise_to_another_and_stays_normal(still: Model) -> None:
    interpolate(still, 2, pairs=4, seed=7, points=5)
    (rows,) = Seen.samples
    noise = sample_noise(7, range(8), (1000,)).numpy()
    assert rows.shape == (4, 5, 1000)
    assert np.allclose(rows[:, 0], noise[1::2])
    assert np.allclose(rows[:, -1], noise[0::2])
    assert np.allclose(rows[:, 2], 0.5 * noise[0::2] + np.sqrt(0.75) * noise[1::2], atol=1e-6)
    assert np.allclose(rows.std(-1), 1, atol=0.1)
    assert still.network.labels.tolist() == [label for label in (0, 1, 2, 0) for _ in range(5)]


def test_interpolation_of_one_class_in_many_batches(still: Model) -> None:
    interpolate(still, 1, pairs=120, seed=0, points=5, label=2)
    assert Seen.samples[0].shape == (120, 5, 1000)
    assert set(still.network.labels.tolist()) == {2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": 0}, "pairs must be at least 1"),
        ({"points": 1}, "points must be at least 2"),
        ({"seed": -1}, "seed"),
        ({"steps": 5}, "steps"),
        ({"label": 3}, "label"),
    ],
)
def test_interpolation_refuses_numbers_out_of_range(still: Model, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        interpolate(still, **{"steps": 1, "pairs": 2, "seed": 0, **wrong})
