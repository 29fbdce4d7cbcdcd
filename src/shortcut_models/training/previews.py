"""Pictures of samples, and snapshots for an animation, while a network trains."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..base import Network
from ..models.model import Model
from ..randomness import sample_noise
from ..system.files import write_atomically
from ..text import format_steps
from .side_work import SideWork

SNAPSHOT_POINTS = 256  # noises whose ends a snapshot holds
PREVIEW_SECONDS = 60  # the longest time for which one preview adds samples in more steps


def preview_counts(model: Model) -> list[int]:
    """Return the numbers of steps of a preview: 1, 4 and at most 128."""
    return sorted({min(steps, model.objective.max_steps) for steps in (1, 4, 128)})


def picture(model: Model, path: Path, step_counts: Sequence[int], side: SideWork) -> Image.Image | None:
    """Draw samples of one noise at several numbers of steps. All processes make them, and the main one writes.

    Returns the picture in the main process.

    What would probably take a preview beyond its longest time is left out; samples in the first number of steps stay.
    """
    from ..drawing.png import save_png
    from ..drawing.sheets import stack

    num, columns = model.task.preview_grid
    start, made = side.clock(), {}
    for steps in step_counts:
        begin = side.clock()
        made[steps] = model.sample(num, steps=steps)
        now = side.clock()
        following = next((other for other in step_counts if other > steps), 0)
        expected = now - start + (now - begin) / steps * following
        if side.state.processes.all_reduce_max(int(expected > PREVIEW_SECONDS)):
            break
    if not side.state.processes.main:
        return None
    labels = model.labels(num)
    drawn = [model.draw(samples, labels, columns) for samples in made.values()]
    whole = stack([format_steps(steps) for steps in made], drawn)
    save_png(path, whole)
    return whole


def snapshot(network: Network, model: Model, path: Path) -> None:
    """Write the ends of the same noises in 1, 2, 4, ... steps, and those of the raw weights, `network`, in the most."""
    most = model.objective.max_steps
    step_counts = [2**k for k in range(most.bit_length())]
    noise = sample_noise(0, range(SNAPSHOT_POINTS), model.task.shape)
    raw = Model(network, model.objective, model.task)
    content = io.BytesIO()
    np.savez(
        content,
        noise=noise.numpy(),
        ema=np.stack([model.sample_from(noise, steps) for steps in step_counts]),
        raw=raw.sample_from(noise, most),
    )
    write_atomically(path, content.getvalue())
