"""Pictures are read back, pixel by pixel: what is drawn must be where the numbers say."""

from __future__ import annotations

import colorsys
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from helpers.pixels import figures_drawn, where
from shortcut_models.drawing.points import scatter, window
from shortcut_models.drawing.sheets import grid, stack
from shortcut_models.drawing.style import colour_of, rainbow


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_every_pixel_where_it_belongs(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 4, 6, channels), dtype=np.uint8)
    sheet = np.asarray(grid(images, columns=3, scale=2))
    assert sheet.shape == (2 * 8 + 2, 3 * 12 + 2 * 2, 3)
    used = np.zeros(sheet.shape[:2], bool)
    for index, image in enumerate(images):
        top, left = index // 3 * 10, index % 3 * 14
        tile = sheet[top : top + 8, left : left + 12]
        assert np.array_equal(tile, np.broadcast_to(np.kron(image, np.ones((2, 2, 1), np.uint8)), tile.shape))
        used[top : top + 8, left : left + 12] = True
    assert (sheet[~used] == 255).all()


def test_grid_is_no_wider_than_its_images() -> None:
    assert grid(np.zeros((2, 8, 8, 1), np.uint8), columns=16).size == (18, 8)


def test_the_rainbow_runs_from_red_to_purple() -> None:
    hues = [360 * colorsys.rgb_to_hsv(*colour)[0] for colour in rainbow(8)]
    assert hues[0] > 340  # red
    assert hues[1:] == sorted(hues[1:])
    assert 270 < hues[-1] < 300  # purple
    expected = rainbow(8)
    assert np.allclose([colour_of(2**k, 128) for k in range(8)], expected, atol=0.01)
    assert colour_of(1, 1) == expected[0]


def blue(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.asarray(picture).astype(int)
    rows, columns = np.nonzero((pixels[..., 2] > 120) & (pixels[..., 0] < 130))
    return columns, rows


def test_scatter_has_equal_axes_and_y_upwards() -> None:
    picture = scatter(np.array([[-1.0, -1], [1, -1], [-1, 1]]))
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
    columns, rows = blue(scatter(points))
    assert np.ptp(columns) > 300
    assert np.ptp(rows) > 300


@pytest.mark.parametrize(
    ("points", "centre"),
    [(np.zeros((0, 2)), (0, 0)), (np.full((3, 2), np.nan), (0, 0)), (np.full((4, 2), 3.0), (3, 3))],
)
def test_points_without_extent_are_in_the_middle(
    points: np.ndarray, centre: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = figures_drawn(monkeypatch)
    columns, rows = blue(scatter(points))
    (axes,) = seen[0].axes
    assert np.ptp(axes.get_xlim()) == np.ptp(axes.get_ylim()) > 0
    assert (np.mean(axes.get_xlim()), np.mean(axes.get_ylim())) == pytest.approx(centre)
    assert np.array_equal(axes.collections[0].get_offsets().filled(np.nan), points, equal_nan=True)
    finite = np.isfinite(points).all(1).any()
    place = axes.transData.transform(centre)
    assert bool(len(columns)) == finite
    assert not finite or (columns.mean(), 480 - rows.mean()) == pytest.approx(tuple(place), abs=1)


def test_sets_of_points_can_be_compared_where_axes_are_shared() -> None:
    corners = np.array([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
    spread = lambda points, where: float(np.std(blue(scatter(points, where))[0]))
    alone = [spread(scale * corners, None) for scale in (0.5, 1.0)]
    assert abs(alone[0] / alone[1] - 1) < 0.05  # each fills its own picture
    shared = [spread(scale * corners, corners) for scale in (0.5, 1.0)]
    assert abs(shared[0] / shared[1] - 0.5) < 0.05


@pytest.mark.parametrize("scale", [1e-3, 1.0, 37.0])
def test_the_window_is_round_and_holds_the_points(scale: float) -> None:
    points = scale * np.random.default_rng(1).uniform(-1, 1, (5000, 2))
    x, y, half = window(points)
    inside = (np.abs(points - [x, y]) <= half).all(1)
    assert inside.all()
    assert half < 1.5 * scale
    assert window(1.001 * points) == (x, y, half)


def test_stack_shows_every_picture_whole_and_in_order() -> None:
    colours = [(200, 40 + 20 * index, 30) for index in range(8)]
    sheet = stack([f"{n}" for n in range(8)], [Image.new("RGB", (40, 40), colour) for colour in colours])
    assert 1 < sheet.width / sheet.height < 2.5
    places = []
    for colour in colours:
        columns, rows = where(sheet, tuple(part / 255 for part in colour), tolerance=0)
        assert len(columns) == 40 * 40
        places.append((rows.min(), columns.min()))
    assert places == sorted(places)


def test_stack_puts_wide_pictures_under_one_another() -> None:
    strips = [Image.new("RGB", (544, 34), "black")] * 3
    assert stack(["1", "4", "128"], strips).width < 700


def test_the_users_own_style_is_neither_used_nor_changed() -> None:
    points = np.random.default_rng(0).normal(size=(50, 2))
    before = scatter(points)
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30.0}):
        assert scatter(points).tobytes() == before.tobytes()
        assert mpl.rcParams["font.size"] == 30.0


@pytest.mark.multiprocess
def test_matplotlib_is_loaded_when_drawing_and_pyplot_never() -> None:
    code = (
        "import sys, numpy, shortcut_models.drawing.points as f; assert 'matplotlib' not in sys.modules; "
        "f.scatter(numpy.zeros((1, 2))); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
