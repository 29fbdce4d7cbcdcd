"""Files that are written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shortcut_models.drawing.png import save_png
from shortcut_models.system.files import write_json


def test_json_is_read_back_and_what_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.json"
    write_json(path, {"steps": [1, 2], "name": "é"})
    assert json.loads(path.read_text()) == {"steps": [1, 2], "name": "é"}
    assert path.read_text().endswith("}\n")
    with pytest.raises(TypeError):
        write_json(path, {"steps": object()})
    assert json.loads(path.read_text())["steps"] == [1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_png_is_read_back_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    save_png(tmp_path / "a.png", Image.fromarray(pixels))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
