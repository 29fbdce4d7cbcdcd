"""The 2-D figures in motion: how all step sizes come to agree, and what averaging the weights does."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageColor

from ..drawing.points import Points, plane, window
from ..drawing.style import DPI, FAINT, INK, LINES, PALE, RAINBOW, colour_of, new_figure, picture_of, rainbow, styled
from ..errors import UserError
from ..models.parts import rebuild
from ..models.run import Run
from ..system.files import write_atomically

SIDE = 480
"""pixels of a square piece of the plane"""
TOP = 66
"""pixels above it, for text"""
COLOURS = 128
"""in the palette of a GIF"""
EXACT = ("#ffffff", INK, FAINT, PALE, LINES, *(f"#{code}" for code in RAINBOW))
"""those of them that are given"""
NEAR = 6
"""levels of red, green or blue by which another colour in the palette differs from these, or it would be mistaken"""
REAL = 2000
"""real points in the background"""
HOLD = 2000
"""milliseconds that the last frame stays"""
View = tuple[float, float, float]


class Snapshot(NamedTuple):
    """What the same noises became at one moment of training."""

    step: int
    ema: np.ndarray
    """[budgets, n, 2]: ends in 1, 2, 4, ... steps, by the averaged weights"""
    raw: np.ndarray
    """[n, 2]: ends in the most steps, by the weights as they are"""


def animate(run: Path, out: Path, fps: float = 10.0) -> list[Path]:
    """Write both animations of a 2-D run, `rainbow_frames` to `out` and `raw_against_ema` beside it.

    Returns the two paths, `NAME.gif` and `NAME-flow.gif`.

    Raises:
        UserError: no 2-D run with snapshots, or `out` does not end in .gif.
    """
    if out.suffix != ".gif":
        raise UserError(f"an animation is a .gif file, and not {out.name!r}: give it that ending")
    made = {out: gif(rainbow_frames(run), fps), out.with_name(f"{out.stem}-flow.gif"): gif(raw_against_ema(run), fps)}
    for path, content in made.items():
        write_atomically(path, content)
    return list(made)


def gif(frames: Iterable[Image.Image], fps: float = 10.0) -> bytes:
    """Frames as an endless GIF that rests on its last one; the palette is shared, so that nothing flickers."""
    frames = list(frames)
    few = [frames[i] for i in sorted({0, len(frames) // 2, len(frames) - 1})]
    strip = Image.new("RGB", (few[0].width, sum(frame.height for frame in few)))
    for index, frame in enumerate(few):
        strip.paste(frame, (0, index * frame.height))
    # The colours that we draw with stay as they are; those that remain are for their blends.
    exact = np.array([ImageColor.getrgb(code) for code in EXACT])
    blends = np.array(strip.quantize(COLOURS - len(exact)).getpalette()).reshape(-1, 3)[: COLOURS - len(exact)]
    apart = np.abs(blends[:, None] - exact).max(-1).min(-1) > NEAR
    palette = Image.new("P", (1, 1))
    palette.putpalette([*exact.flatten().tolist(), *blends[apart].flatten().tolist()])
    first, *rest = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    content, pause = io.BytesIO(), round(1000 / fps)
    durations = [pause] * len(rest) + [HOLD]
    first.save(content, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    return content.getvalue()


def rainbow_frames(run: Path) -> Iterator[Image.Image]:
    """For the same noises, their ends in 1 (red), 2, 4, ... steps (purple) as a chain each; a frame a snapshot."""
    snapshots, real = read_snapshots(run), real_points(run)
    view = window(real if len(real) else snapshots[-1].ema[-1])
    return (_rainbow_frame(snapshot, real, view) for snapshot in snapshots)


def raw_against_ema(run: Path) -> Iterator[Image.Image]:
    """The ends of the same noises in the most steps, by the raw weights and by their average; a frame a snapshot."""
    snapshots, real = read_snapshots(run), real_points(run)
    view = window(real if len(real) else snapshots[-1].ema[-1])
    return (_flow_frame(snapshot, real, view) for snapshot in snapshots)


def read_snapshots(run: Path) -> list[Snapshot]:
    """The snapshots of a run in the order of its training. Raises UserError where it has none, or not of points."""
    files = sorted(Run(run).snapshots.glob("step_*.npz"))
    if not files:
        raise UserError(
            f"{run} has no snapshots: animate is for 2-D runs, such as that of `shortcut train four-gaussians`"
        )
    found = []
    for path in files:
        try:
            with np.load(path) as arrays:
                snapshot = Snapshot(int(path.stem.removeprefix("step_")), arrays["ema"], arrays["raw"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise UserError(f"{path} is damaged or no snapshot: remove it") from None
        if snapshot.raw.shape[1:] != (2,):
            raise UserError(f"{run} makes samples of shape {list(snapshot.raw.shape[1:])}: animate is for 2-D runs")
        found.append(snapshot)
    return found


def real_points(run: Path) -> Points:
    """Some of the held-out points that a 2-D run learns; none where its task is from outside the package."""
    with contextlib.suppress(UserError):
        task = rebuild("task", Run(run).read_config()["task"], None)
        held_out = task.dataset("test")
        return held_out.__getitems__(list(range(min(REAL, len(held_out))))).data.numpy()
    return np.empty((0, 2))


def _panel(figure: Any, left: int, title: str, real: Points, view: View) -> Any:
    """A square piece of the plane, `left` pixels from the edge and below a line of text, with the data in grey."""
    width, height = figure.get_size_inches() * DPI
    axes = figure.add_axes((left / width, (height - TOP - SIDE) / height, SIDE / width, SIDE / height))
    plane(axes, view)
    axes.tick_params(labelbottom=False, labelleft=False)
    figure.text((left + 12) / width, 1 - 58 / height, title, fontsize=7.5, color=FAINT)
    axes.scatter(*real.T, s=3, color=PALE, linewidths=0)
    return axes


def _headline(figure: Any, snapshot: Snapshot) -> None:
    width, height = figure.get_size_inches() * DPI
    figure.text(12 / width, 1 - 30 / height, f"training step {snapshot.step:,}", fontsize=10, weight="bold")


@styled
def _rainbow_frame(snapshot: Snapshot, real: Points, view: View) -> Image.Image:
    from matplotlib.collections import LineCollection

    budgets = len(snapshot.ema)
    figure = new_figure(SIDE, TOP + SIDE + 36, layout=None)
    gap = np.linalg.norm(snapshot.ema[0] - snapshot.ema[-1], axis=-1).mean()
    title = f"ends in 1 and in {2 ** (budgets - 1)} steps lie {gap:.3f} apart on average"
    axes = _panel(figure, 0, title, real, view)
    _headline(figure, snapshot)
    axes.add_collection(LineCollection(snapshot.ema.swapaxes(0, 1), colors=INK, linewidths=0.35, alpha=0.35, zorder=2))
    # Fewer steps lie below as larger dots: a chain that has all but closed still shows its ends.
    sizes = np.linspace(11, 2.5, budgets)
    for k, (ends, colour) in enumerate(zip(snapshot.ema, rainbow(budgets), strict=True)):
        axes.scatter(*ends.T, s=sizes[k], color=colour, linewidths=0, zorder=3 + k)
    key = [(2**k, colour) for k, colour in enumerate(rainbow(budgets))]
    for index, (steps, colour) in enumerate(key):
        place = (12 + index * (SIDE - 90) / max(budgets, 8)) / SIDE
        figure.text(place, 10 / figure.bbox.height, f"● {steps}", fontsize=7, color=colour)
    figure.text(1 - 12 / SIDE, 10 / figure.bbox.height, "steps", fontsize=7, color=FAINT, ha="right")
    return picture_of(figure)


@styled
def _flow_frame(snapshot: Snapshot, real: Points, view: View) -> Image.Image:
    figure = new_figure(2 * SIDE + 12, TOP + SIDE, layout=None)
    _headline(figure, snapshot)
    steps = 2 ** (len(snapshot.ema) - 1)
    panels = (("the weights as they are", snapshot.raw), ("the average of the weights", snapshot.ema[-1]))
    for index, (title, ends) in enumerate(panels):
        axes = _panel(figure, index * (SIDE + 12), f"{title}, {steps} steps", real, view)
        axes.scatter(*ends.T, s=7, color=colour_of(steps, steps), linewidths=0, zorder=3)
    return picture_of(figure)
