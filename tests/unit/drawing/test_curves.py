"""Curves of losses and of quality are read back, pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helpers.pixels import centre, figures_drawn, where
from shortcut_models.drawing.curves import quality_curves
from shortcut_models.drawing.losses import loss_curves, step_size_losses
from shortcut_models.drawing.style import colour_of, rainbow

LEVELS = [f"d=1/{2**k}" for k in range(7)]


def log(step: int, **figures_: float) -> dict[str, Any]:
    levels = {name: 0.001 * 2**k for k, name in enumerate(LEVELS)}
    return {"step": step, "loss": 0.5, "flow": 1.0, **levels, **figures_}


def test_step_sizes_of_a_log_have_labels_from_one_to_the_finest() -> None:
    found = step_size_losses(["step", "flow", "loss", "d=1/4", "d=1/1", "d=1/2"])
    assert [label for label, _ in found.values()] == ["d = 1", "d = 1/2", "d = 1/4", "d = 1/8"]
    assert list(found) == ["d=1/1", "d=1/2", "d=1/4", "flow"]
    assert [colour for _, colour in found.values()] == rainbow(4)
    assert list(step_size_losses(["flow", "loss"]).values()) == [("flow", rainbow(8)[-1])]


def test_loss_curves_lie_in_the_order_of_the_losses() -> None:
    picture = loss_curves([log(step, heldout_loss=0.4) for step in range(0, 1000, 50)])
    heights = []
    for colour in rainbow(8):
        columns, rows = where(picture, colour, 20)
        curve = columns < 1300  # the legend is further right
        heights.append(np.median(rows[curve]))
    assert heights == sorted(heights, reverse=True)
    assert np.diff(heights[:-1]).std() < 2  # each loss is twice the one before: even steps on a log scale


def drawn(monkeypatch: pytest.MonkeyPatch, metrics: list[dict[str, Any]]) -> tuple[Any, Any]:
    """The axes of the loss, and of the losses at each step size."""
    seen = figures_drawn(monkeypatch)
    loss_curves(metrics)
    total, single = seen[-1].axes
    return total, single


def lines_of(axes: Any) -> dict[str, list[list[float]]]:
    """The points of each labelled line."""
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines if line.get_label()[0] != "_"}


def test_an_empty_log_has_empty_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    for axes in drawn(monkeypatch, []):
        assert not axes.lines
        assert axes.get_legend() is None


def test_a_log_with_gaps_is_drawn_where_it_has_values(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = [log(1, heldout_loss=0.25), {"step": 2, "skipped": 1}, log(3, loss=float("nan")), log(4, loss=0.5)]
    total, single = drawn(monkeypatch, metrics)
    assert lines_of(total) == {"training": [[1, 0.5], [4, 0.5]], "held out (EMA)": [[1, 0.25]]}
    assert lines_of(single) == {
        label: [[step, metrics[0][name]] for step in (1, 3, 4)] for name, (label, _) in step_size_losses(log(1)).items()
    }
    assert total.get_yscale() == single.get_yscale() == "log"
    low, high = total.get_ylim()
    assert low < 0.25 < 0.5 < high


def test_losses_of_zero_have_a_linear_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    for axes, name in zip(drawn(monkeypatch, [{"step": n, "loss": 0.0, "flow": 0.0} for n in range(5)]),
                          ("training", "flow"), strict=True):  # fmt: skip
        assert axes.get_yscale() == "linear"
        assert lines_of(axes) == {name: [[n, 0.0] for n in range(5)]}


def test_a_long_log_is_smoothed_and_its_names_of_ones_own_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).uniform(1, 2, 600)
    total, single = drawn(monkeypatch, [{"step": n, "loss": values[n], "mine": 2.0} for n in range(600)])
    faint, smooth = (np.asarray(line.get_ydata()) for line in total.lines)
    assert np.array_equal(faint, values)
    expected = [values[max(n - 10, 0) : n + 11].mean() for n in range(600)]
    assert np.allclose(smooth[10:-10], expected[10:-10])
    assert np.abs(smooth - expected).max() < 0.15
    assert not single.lines


def test_losses_of_the_first_steps_that_are_near_0_do_not_decide_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    total, _ = drawn(monkeypatch, [{"step": n, "loss": 1e-9 if n < 5 else 0.5} for n in range(60)])
    low, high = total.get_ylim()
    assert 0.3 < low < 0.5 < high < 0.6


def evaluation(**measures: list[float]) -> dict[str, Any]:
    rows = {str(2**k): {name: values[k] for name, values in measures.items()} | {"seconds": 0.1} for k in range(3)}
    return {"num": 10, "seed": 0, "guidance": 1.0, "step": 5, "steps": rows, "machine": {}}


def test_quality_is_drawn_in_the_colour_of_its_number_of_steps() -> None:
    picture = quality_curves(evaluation(recall=[0.2, 0.5, 0.8]))
    places = [centre(picture, colour_of(2**k, 4)) for k in range(3)]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x2 - x1 == pytest.approx(x3 - x2, abs=1)  # 1, 2 and 4 steps are evenly spaced
    assert y1 - y2 == pytest.approx(y2 - y3, abs=1)
    assert y1 - y3 > 100


def test_a_panel_for_every_measure_with_its_direction_values_and_real_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = figures_drawn(monkeypatch)
    quality_curves(
        evaluation(
            accuracy=[0.5, 0.75, 0.9], accuracy_real=[0.95] * 3, pixel_frechet=[3.0, 2, 1], odd=[float("nan")] * 3
        )
    )
    accuracy, frechet, odd = seen[0].axes
    assert [axes.get_title(loc="left") for axes in seen[0].axes] == ["accuracy", "pixel frechet", "odd"]
    directions = [axes.get_title(loc="right") for axes in seen[0].axes]
    assert directions == ["higher is better", "lower is better", ""]
    assert accuracy.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.75], [4, 0.9]]
    assert list(accuracy.lines[1].get_ydata()) == [0.95, 0.95]  # real data, as a line across
    assert accuracy.get_ylim() == pytest.approx((0.45, 1.005))
    assert frechet.lines[0].get_xydata().tolist() == [[1, 3], [2, 2], [4, 1]]
    assert len(frechet.lines) == 1
    assert frechet.get_ylim()[0] == 0
    assert not len(odd.lines[0].get_xydata())
