"""Curves of losses and of quality are read back, pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.pixels import centre, where
from shortcut_models.drawing import style as figures
from shortcut_models.drawing.losses import loss_curves, step_size_losses

LEVELS = [f"d=1/{2**k}" for k in range(7)]


def log(step: int, **figures_: float) -> dict[str, Any]:
    levels = {name: 0.001 * 2**k for k, name in enumerate(LEVELS)}
    return {"step": step, "loss": 0.5, "flow": 1.0, **levels, **figures_}


def test_step_sizes_of_a_log_have_labels_from_one_to_the_finest() -> None:
    found = step_size_losses(["step", "flow", "loss", "d=1/4", "d=1/1", "d=1/2"])
    assert [label for label, _ in found.values()] == ["d = 1", "d = 1/2", "d = 1/4", "d = 1/8"]
    assert list(found) == ["d=1/1", "d=1/2", "d=1/4", "flow"]
    assert [colour for _, colour in found.values()] == figures.rainbow(4)
    assert list(step_size_losses(["flow", "loss"]).values()) == [("flow", figures.rainbow(8)[-1])]


def test_loss_curves_lie_in_the_order_of_the_losses() -> None:
    picture = loss_curves([log(step, heldout_loss=0.4) for step in range(0, 1000, 50)])
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
    assert loss_curves(metrics).width == 1500


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
