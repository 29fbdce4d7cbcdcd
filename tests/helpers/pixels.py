"""What is in a picture: where a colour is, and the matplotlib figure that it was drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image


def figures_drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The matplotlib figures that are drawn from now on."""
    seen: list[Any] = []
    draw = FigureCanvasAgg.draw

    def keep(canvas: FigureCanvasAgg) -> None:
        seen.append(canvas.figure)
        draw(canvas)

    monkeypatch.setattr(FigureCanvasAgg, "draw", keep)
    return seen


def where(picture: Image.Image, colour: tuple[float, ...], tolerance: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels of a colour."""
    rgb = np.array([round(255 * part) for part in colour])
    rows, columns = np.nonzero(np.abs(np.asarray(picture.convert("RGB")).astype(int) - rgb).max(-1) <= tolerance)
    return columns, rows


def centre(picture: Image.Image, colour: tuple[float, ...]) -> tuple[float, float]:
    columns, rows = where(picture, colour)
    assert len(columns), "no pixel of that colour"
    return columns.mean() + 0.5, rows.mean() + 0.5
