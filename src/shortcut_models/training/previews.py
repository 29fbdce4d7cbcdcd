"""What a run shows of its samples while it trains."""

import io
from pathlib import Path

import numpy as np

from ..base import Network
from ..models.model import Model
from ..randomness import sample_noise
from ..system.files import write_atomically
from ..text import format_steps

SNAPSHOT_POINTS = 256  # noises whose ends a snapshot holds


def picture(model: Model, path: Path, *, write: bool = True) -> None:
    """Draw samples of one noise in 1, 4 and at most 128 steps. All processes make them, and one may write."""
    from ..drawing.png import save_png
    from ..drawing.sheets import stack

    step_counts = sorted({min(steps, model.objective.max_steps) for steps in (1, 4, 128)})
    num, columns = model.task.preview_grid
    samples = [model.sample(num, steps=steps) for steps in step_counts]
    if not write:
        return
    drawn = [model.task.draw(made, columns) for made in samples]
    save_png(path, stack([format_steps(steps) for steps in step_counts], drawn))


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
