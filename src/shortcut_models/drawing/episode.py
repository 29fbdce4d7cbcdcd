"""One episode of demonstrations: what its cameras saw over time, and its numbers as curves."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from .sheets import grid, stack
from .style import new_panels, picture_of, rainbow, styled

_FRAMES, _SIDE = 8, 120  # pictures of a camera, and the width of each
_NUMBERS = 32  # curves in one panel


def plot_episode(
    cameras: Mapping[str, UInt8[np.ndarray, "n h w c"]],
    vectors: Mapping[str, Shaped[np.ndarray, "n size"]],
    fps: float | None = None,
) -> Image.Image:
    """Draw frames of each camera, evenly spaced in time, above the curves of all vectors.

    Args:
        cameras: images by name.
        vectors: numbers by name.
        fps: frames per second; the curves are drawn over seconds, or over frames where it is not known.
    """
    strips = {name: _strip(images) for name, images in cameras.items()}
    pictures = strips | {name: _curves(values, fps) for name, values in vectors.items()}
    titles = [*cameras, *(_title(name, values.shape[1]) for name, values in vectors.items())]
    return stack(titles, list(pictures.values()), columns=1)


def _title(name: str, size: int) -> str:
    return name if size <= _NUMBERS else f"{name}: {_NUMBERS} of {size:,} numbers"


def _strip(images: UInt8[np.ndarray, "n h w c"]) -> Image.Image:
    chosen = np.linspace(0, len(images) - 1, min(len(images), _FRAMES)).round().astype(int)
    height, width, channels = images.shape[1:]
    size = (_SIDE, max(round(_SIDE * height / width), 1))
    how = Image.Resampling.NEAREST if width < _SIDE else Image.Resampling.BOX
    colours = np.repeat(images[chosen], 3, axis=3) if channels == 1 else images[chosen][..., :3]
    frames = [np.asarray(Image.fromarray(frame).resize(size, how)) for frame in colours]
    return grid(np.stack(frames), _FRAMES)


@styled()
def _curves(values: Shaped[np.ndarray, "n size"], fps: float | None) -> Image.Image:
    figure, (axes,) = new_panels(1, 1, _FRAMES * _SIDE, 240)
    count = values.shape[1]
    chosen = np.linspace(0, count - 1, min(count, _NUMBERS)).round().astype(int)
    times = np.arange(len(values)) / (fps or 1)
    for number, colour in zip(chosen, rainbow(len(chosen)), strict=True):
        axes.plot(times, values[:, number], color=colour, marker="." if len(values) == 1 else None)
    axes.set_xlabel("seconds" if fps else "frame")
    return picture_of(figure)
