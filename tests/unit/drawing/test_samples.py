"""Samples of any shape have a picture, chosen by their shape."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

from shortcut_models.drawing import samples as drawing
from shortcut_models.drawing.samples import draw_samples

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2,), "scatter"),
        ((1, 8, 8), "grid"),
        ((3, 8, 9), "grid"),
        ((8, 9, 3), "grid"),
        ((64,), "_curves"),
        ((1, 64), "_curves"),
        ((8, 30), "_curves"),
        ((9, 30), "_table"),
        ((5,), "_table"),
        ((1,), "_table"),
        ((), "_table"),
        ((4, 5, 6), "_table"),
        ((2, 3, 4, 5), "_table"),
    ],
)
@pytest.mark.parametrize("count", [1, 70])
def test_the_shape_chooses_the_picture(shape: tuple[int, ...], kind: str, count: int) -> None:
    made = RANDOM.normal(size=(count, *shape)).astype(np.float32)
    with mock.patch.object(drawing, kind, wraps=getattr(drawing, kind)) as drawn:
        picture = draw_samples(made, 8)
    assert drawn.call_count == 1
    assert min(picture.size) >= 20
    assert len(picture.getcolors(2**24)) > 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (1, 64), (5,)])
@pytest.mark.filterwarnings("error")
def test_numbers_that_cannot_be_drawn_are_left_out(shape: tuple[int, ...], value: float) -> None:
    made = RANDOM.normal(size=(6, *shape))
    made[3:] = value
    draw_samples(made, 3)
    draw_samples(np.full_like(made, value), 3)


def test_pictures_keep_their_bytes_and_other_numbers_are_scaled() -> None:
    image = RANDOM.integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(draw_samples(image, 1)), image[0])
    ramp = np.linspace(-5, 5, 4096).reshape(1, 1, 64, 64)
    shown = np.asarray(draw_samples(ramp, 1))[..., 0]
    assert (shown[0, 0], shown[-1, -1]) == (0, 255)
    assert abs(int(shown[32, 0]) - 128) <= 1
