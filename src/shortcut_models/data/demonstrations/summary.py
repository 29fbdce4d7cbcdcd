"""What a set of demonstrations holds, in one line, and one of its episodes as a picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...drawing.episode import plot_episode
from ...errors import UserError
from .episodes import Demonstrations
from .preprocessing import MIN_SPREAD

_IMAGES = 256  # images whose range is measured, at most


def summarize(found: Demonstrations, train: Sequence[int], held_out: Sequence[int], least: int) -> str:
    """Return episodes, frames, sizes, ranges and what is left out, in one line.

    Args:
        found: the demonstrations.
        train: numbers of the training episodes.
        held_out: numbers of the held-out episodes.
        least: frames that an episode needs; shorter ones are in neither.
    """
    lengths = found.ends - found.begins
    parts = [
        f"{_count(len(train), 'episode')} to train on ({_count(int(lengths[train].sum()), 'frame')})",
        f"{len(held_out):,} held out ({_count(int(lengths[held_out].sum()), 'frame')})",
        *(_array(name, array) for name, array in {**found.observations, "action": found.actions}.items()),
        *([] if found.fps is None else [f"{found.fps:g} frames per second"]),
    ]
    short = int((lengths < least).sum())
    left_out = [*([f"{_count(short, 'episode')} of fewer than {least} frames"] if short else []), *found.left_out]
    return ", ".join(parts) + (f"; left out: {', '.join(left_out)}" if left_out else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _array(name: str, array: np.ndarray) -> str:
    if array.ndim == 4:
        some = array[:: -(-len(array) // _IMAGES)]
        height, width, channels = array.shape[1:]
        return f"{name} {width}x{height}, {_count(channels, 'channel')}, from {some.min()} to {some.max()}"
    spread = array.max(0).astype(np.float64) - array.min(0)
    constant, little = int((spread == 0).sum()), int(((spread > 0) & (spread < MIN_SPREAD)).sum())
    notes = [f"{constant:,} constant"] * (constant > 0)
    notes += [f"{little:,} not scaled, varying by less than {MIN_SPREAD:g}"] * (little > 0)
    numbers = f"{name} {_count(array.shape[1], 'number')} from {array.min():.4g} to {array.max():.4g}"
    return numbers + (f" ({', '.join(notes)})" if notes else "")


def draw_episode(demonstrations: Demonstrations, episode: int = 0) -> Image.Image:
    """Draw an episode, by number: frames of each camera over time, and curves of its vectors and actions."""
    if not 0 <= episode < len(demonstrations):
        raise UserError(f"episode {episode} does not exist: choose one from 0 to {len(demonstrations) - 1}")
    rows = slice(int(demonstrations.begins[episode]), int(demonstrations.ends[episode]))
    arrays = {name: array[rows] for name, array in demonstrations.observations.items()}
    cameras = {name: np.asarray(array) for name, array in arrays.items() if array.ndim == 4}
    vectors = {name: array for name, array in arrays.items() if name not in cameras}
    return plot_episode(cameras, {**vectors, "action": demonstrations.actions[rows]}, demonstrations.fps)
