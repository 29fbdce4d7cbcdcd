"""Where a colour lies in a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image


def where(picture: Image.Image, colour: tuple[float, ...], tolerance: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels of a colour."""
    rgb = np.array([round(255 * part) for part in colour])
    rows, columns = np.nonzero(np.abs(np.asarray(picture.convert("RGB")).astype(int) - rgb).max(-1) <= tolerance)
    return columns, rows


def centre(picture: Image.Image, colour: tuple[float, ...]) -> tuple[float, float]:
    columns, rows = where(picture, colour)
    assert len(columns), "no pixel of that colour"
    return columns.mean() + 0.5, rows.mean() + 0.5
