"""What demonstrations hold, in one line and as a picture."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers import demonstrations as demos
from helpers.runs import refusal
from shortcut_models.data.demonstrations import Demonstrations, draw_episode, read
from shortcut_models.data.demonstrations.summary import summarize
from shortcut_models.tasks import Imitation

pytestmark = pytest.mark.needs_extra


def test_one_line_says_what_is_trained_on_and_what_is_left_out(tmp_path: Path) -> None:
    path = demos.make_robomimic(tmp_path)
    with h5py.File(path, "r+") as file:
        file["mask/valid"], file["mask/train"] = np.array([b"demo_2"]), np.array([b"demo_0", b"demo_1"])
    pixels = demos.pictures()[: demos.ENDS[2]]
    task = Imitation(str(path), observations=("image", "state[:2]"), chunk=8, execute=2)
    with pytest.warns(UserWarning, match="1 of 3 episodes"):
        line = task.resolve().describe_data()
    assert line == (
        f"{path}: 1 episode to train on (12 frames), 1 held out (9 frames), "
        f"image 16x16, 3 channels, from {pixels.min()} to {pixels.max()}, state 2 numbers from 0 to 625, "
        f"action 2 numbers from -12.5 to 12.5; left out: 1 episode of fewer than 7 frames, "
        f"1 episode in neither mask/train nor mask/valid"
    )


def test_frames_per_second_constants_and_names_that_are_not_read(tmp_path: Path) -> None:
    found = read(demos.make_lerobot(tmp_path), ["state"])
    line = summarize(found, [0, 1, 2], [3], 1)
    assert line.endswith(
        "state 3 numbers from 0 to 1024 (1 constant), action 2 numbers from -16 to 16, 10 frames per second; "
        "left out: observations image"
    )


def test_a_picture_of_an_episode_shows_its_frames_and_its_numbers() -> None:
    colours = np.zeros((20, 4, 4, 3), np.uint8)
    colours[:10, ..., 0], colours[10:, ..., 2] = 255, 255
    grey = np.full((20, 4, 4, 1), 77, np.uint8)
    seen = {"top": colours, "wrist": grey, "many": np.zeros((20, 99), np.float32)}
    found = Demonstrations(seen, np.zeros((20, 2), np.float32), np.array([19, 20]), fps=10.0)
    picture = np.asarray(draw_episode(found))
    assert all((picture == colour).all(-1).any() for colour in ([255, 0, 0], [0, 0, 255], [77, 77, 77]))
    last = np.asarray(draw_episode(found, 1))
    assert not (last == [255, 0, 0]).all(-1).any()
    for episode in (-1, 2):
        with refusal(f"episode {episode} does not exist: choose one from 0 to 1"):
            draw_episode(found, episode)


@pytest.mark.parametrize("make", demos.MAKERS)
def test_every_format_can_be_drawn(make: demos.Maker, tmp_path: Path) -> None:
    assert draw_episode(read(make(tmp_path)), 2).width > 900
