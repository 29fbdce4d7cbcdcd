"""The 2-D figures in motion: how all step sizes come to agree, and what averaging the weights does."""

import contextlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..drawing.points import Points, plane, window
from ..drawing.style import FAINT, INK, LINES, PALE, RAINBOW, colour_of, new_figure, picture_of, rainbow, styled
from ..drawing.video import encode_gif
from ..errors import UserError
from ..models.parts import rebuild
from ..models.run import Run
from ..system.files import write_atomically

SIDE = 480  # pixels of a square piece of the plane
TOP, BELOW, BETWEEN = 66, 36, 12
"""pixels above it, for text; below it, for the key of the rainbow; and from one to the next"""
EXACT = ("#ffffff", INK, FAINT, PALE, LINES, *RAINBOW)
"""colours that a GIF shows as they are; the others are their blends"""
REAL = 2000  # real points in the background
FPS = 10.0  # frames a second
HOLD = 2.0  # seconds that the last frame stays


class Snapshot(NamedTuple):
    """The ends of the same noises at one moment of training."""

    step: int
    ema: np.ndarray  # [step counts, n, 2]: ends in 1, 2, 4, ... steps, by the averaged weights
    raw: np.ndarray  # [n, 2]: ends in the most steps, by the weights as they are


def animate(run: Path, out: Path, fps: float = FPS) -> list[Path]:
    """Write `rainbow_frames` of a 2-D run to NAME.gif, and `raw_against_ema` to NAME-flow.gif; return both paths."""
    if out.suffix != ".gif":
        raise UserError(f"{out.name} is not the name of a .gif file: choose one that ends in .gif")
    made = {out: rainbow_frames(run), out.with_name(f"{out.stem}-flow.gif"): raw_against_ema(run)}
    for path, frames in made.items():
        write_atomically(path, gif(frames, fps))
    return list(made)


def gif(frames: Iterable[Image.Image], fps: float = FPS) -> bytes:
    """Return frames as an endless GIF that rests on its last one."""
    return encode_gif(frames, fps, EXACT, HOLD)


def rainbow_frames(run: Path) -> Iterator[Image.Image]:
    """Draw a chain for each noise, of its ends in 1 (red), 2, 4, ... steps (purple); a frame a snapshot."""
    scene, snapshots = _read(run)
    return (_rainbow_frame(scene, snapshot) for snapshot in snapshots)


def raw_against_ema(run: Path) -> Iterator[Image.Image]:
    """Draw the ends of the same noises in the most steps, by raw and by averaged weights; a frame a snapshot."""
    scene, snapshots = _read(run)
    return (_flow_frame(scene, snapshot) for snapshot in snapshots)


class Scene(NamedTuple):
    """What all frames of an animation show: real points in grey, and a square piece of the plane."""

    real: Points
    view: tuple[float, float, float]

    def new_figure(self, step: int, titles: Sequence[str], below: int = 0) -> tuple[Any, list[Any]]:
        """Return a figure with a panel for each title, side by side and `below` pixels above its end, and the axes."""
        width, height = len(titles) * (SIDE + BETWEEN) - BETWEEN, TOP + SIDE + below
        figure, panels = new_figure(width, height, layout=None), []
        figure.text(12 / width, 1 - 30 / height, f"training step {step:,}", fontsize=10, weight="bold")
        for index, title in enumerate(titles):
            left = index * (SIDE + BETWEEN)
            axes = figure.add_axes((left / width, below / height, SIDE / width, SIDE / height))
            plane(axes, self.view)
            axes.tick_params(labelbottom=False, labelleft=False)
            axes.scatter(*self.real.T, s=3, color=PALE, linewidths=0)
            figure.text((left + 12) / width, 1 - 58 / height, title, fontsize=7.5, color=FAINT)
            panels.append(axes)
        return figure, panels


def _read(run: Path) -> tuple[Scene, list[Snapshot]]:
    snapshots, real = read_snapshots(run), np.empty((0, 2))
    with contextlib.suppress(UserError):  # a task from outside the package has no background
        held_out = rebuild("task", Run(run).read_config()["task"], None).dataset("test")
        real = held_out.__getitems__(list(range(min(REAL, len(held_out))))).data.numpy()
    return Scene(real, window(real if len(real) else snapshots[-1].ema[-1])), snapshots


def read_snapshots(run: Path) -> list[Snapshot]:
    """Return the snapshots of a 2-D run in the order of its training."""
    files = sorted(Run(run).snapshots.glob("step_*.npz"))
    if not files:
        raise UserError(f"{run} has no snapshots: choose a 2-D run, such as that of `shortcut train four-gaussians`")
    found = []
    for path in files:
        try:
            with np.load(path) as arrays:
                snapshot = Snapshot(int(path.stem.removeprefix("step_")), arrays["ema"], arrays["raw"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise UserError(f"{path} is damaged or is not a snapshot: remove it") from None
        if snapshot.raw.shape[1:] != (2,):
            raise UserError(f"{run} makes samples of shape {list(snapshot.raw.shape[1:])}: choose a 2-D run")
        found.append(snapshot)
    return found


@styled()
def _rainbow_frame(scene: Scene, snapshot: Snapshot) -> Image.Image:
    from matplotlib.collections import LineCollection

    count = len(snapshot.ema)
    gap = np.linalg.norm(snapshot.ema[0] - snapshot.ema[-1], axis=-1).mean()
    title = f"ends in 1 and in {2 ** (count - 1)} steps are {gap:.3f} apart on average"
    figure, (axes,) = scene.new_figure(snapshot.step, [title], BELOW)
    axes.add_collection(LineCollection(snapshot.ema.swapaxes(0, 1), colors=INK, linewidths=0.35, alpha=0.35, zorder=2))
    # Fewer steps are larger dots, below the others: a chain that is almost closed still shows its ends.
    sizes = np.linspace(11, 2.5, count)
    for k, (ends, colour) in enumerate(zip(snapshot.ema, rainbow(count), strict=True)):
        axes.scatter(*ends.T, s=sizes[k], color=colour, linewidths=0, zorder=3 + k)
        place = (12 + k * (SIDE - 90) / max(count, 8)) / SIDE
        figure.text(place, 10 / figure.bbox.height, f"● {2**k}", fontsize=7, color=colour)
    figure.text(1 - 12 / SIDE, 10 / figure.bbox.height, "steps", fontsize=7, color=FAINT, ha="right")
    return picture_of(figure)


@styled()
def _flow_frame(scene: Scene, snapshot: Snapshot) -> Image.Image:
    steps = 2 ** (len(snapshot.ema) - 1)
    titles = (f"the weights as they are, {steps} steps", f"the average of the weights, {steps} steps")
    figure, panels = scene.new_figure(snapshot.step, titles)
    for axes, ends in zip(panels, (snapshot.raw, snapshot.ema[-1]), strict=True):
        axes.scatter(*ends.T, s=7, color=colour_of(steps, steps), linewidths=0, zorder=3)
    return picture_of(figure)
