"""Policies side by side in the same world, as the frames of a video."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..drawing.style import FAINT, INK, colour_of
from ..drawing.video import Frame, rate_of, width_of, write_video
from ..errors import UserError
from ..metrics.catalogue import score as score_entry
from ..models.parts import describe
from ..system.progress import progress
from ..text import format_steps
from .environments import Environment
from .episode import CRASHED, Actor, Play, rehearse
from .rollout import Arena

HOLD = 2.0
"""seconds that the last frame stays"""
GAP = 8
"""pixels between panels"""
SOON = 1e-6
"""seconds by which two times may differ and be the same"""


@dataclass(frozen=True)
class Entrant:
    """A policy in a race, and how many steps it takes for a decision."""

    name: str
    policy: Actor
    steps: int
    most: int
    """steps that its method can take, for the colour"""


class Moment(NamedTuple):
    """What there is to see of an entrant."""

    picture: Frame
    score: float
    ended: str
    clock: float
    """seconds since the beginning"""


class Lane:
    """An entrant on its way.

    The world is at frame k from clock_k on; its next frame comes at clock_(k+1) = clock_k + 1 / frames_per_second. In
    real time it waits where the policy takes longer than that to act: clock_(k+1) = clock_k + max(1 /
    frames_per_second, policy's seconds at frame k). The simulator's own time is left out: it is no policy's.
    """

    def __init__(self, entrant: Entrant, world: Environment, seed: int, *, real_time: bool = False) -> None:
        """Begin. Raises UserError where what is seen is not what the policy knows, and where the world cannot begin."""
        self.entrant, self.world, self.real_time = entrant, world, real_time
        self.period = 1 / world.frames_per_second
        try:
            rehearse(entrant.policy, world)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the environment fails at its beginning: {type(error).__name__}: {error}") from None
        self.play = Play(entrant.policy, world, entrant.steps, seed)
        if self.play.ended:
            raise UserError(f"the environment fails with seed {seed}: {self.play.ended}")
        self.now = Moment(world.picture(), 0.0, "", 0.0)
        self._next = self._advance()

    def _advance(self) -> Moment:
        took = self.play.advance()
        clock = self.now.clock + (max(self.period, took) if self.real_time else self.period)
        picture = self.now.picture if self.play.ended.startswith(CRASHED) else self.world.picture()
        return Moment(picture, self.play.score, self.play.ended, clock)

    def until(self, clock: float) -> None:
        """Go on to what there is to see at this time."""
        while not self.now.ended and self._next.clock <= clock + SOON:
            self.now = self._next
            self._next = self._advance()


def lanes_of(entries: Sequence[tuple[Arena, int]], seed: int, *, real_time: bool = False) -> list[Lane]:
    """A lane for each policy and number of steps, in worlds of the same seed, named by its method.

    Raises UserError as `Lane`; warns where a policy has learned from a demonstration with this seed.
    """
    methods = [str(describe(arena.policy.objective)["name"]) for arena, _ in entries]
    distinct = len({(method, n) for method, (_, n) in zip(methods, entries, strict=True)}) == len(entries)
    lanes = []
    for method, (arena, steps) in zip(methods, entries, strict=True):
        if seed in arena.policy.imitation.seeds:
            warnings.warn(f"{arena.run} has learned from a demonstration with seed {seed}", stacklevel=2)
        policy = dataclasses.replace(arena.policy)  # the same network, and a memory of its own
        name = method if distinct else arena.run.resolve().name
        entrant = Entrant(name, policy, steps, arena.policy.objective.max_steps)
        lanes.append(Lane(entrant, arena.setting.environment(), seed, real_time=real_time))
    return lanes


def note_of(arena: Arena, *, real_time: bool) -> str:
    """What a video says of its clock."""
    if not real_time:
        return "clock of the world: policies take no time"
    threads = torch.get_num_threads()
    where = f"{arena.setting.device}, {threads} thread{'s' if threads > 1 else ''}"
    return f"real time: the world waits while a policy decides ({where})"


def race(lanes: Sequence[Lane], rate: int, width: int, note: str = "", seconds: float | None = None) -> Iterator[Frame]:
    """The frames of a video, until all have finished and a while longer; each stays on its last one.

    Args:
        lanes: at least one.
        rate: frames a second of the video.
        width: pixels that a frame may be wide.
        note: a line that stands below.
        seconds: of the video at most.
    """
    tick, held = 0, 0
    while held <= HOLD * rate and (seconds is None or tick < seconds * rate):
        for lane in lanes:
            lane.until(tick / rate)
        yield sheet(lanes, tick / rate, width, note)
        tick, held = tick + 1, held + all(lane.now.ended for lane in lanes)


def write_race(out: Path, lanes: Sequence[Lane], note: str, seconds: float | None = None) -> None:
    """Write the video of a race, MP4 or GIF. Raises UserError and OSError as `write_video`."""
    rate = rate_of(out, lanes[0].world.frames_per_second)

    def frames() -> Iterator[Frame]:
        with progress(None, "frame", desc=out.name, disable=None) as bar:
            for frame in race(lanes, rate, width_of(out), note, seconds):
                yield frame
                bar.update()

    write_video(out, frames(), rate)


def sheet(lanes: Sequence[Lane], clock: float, width: int, note: str) -> Frame:
    """All lanes side by side, each below its name, score and clock, and the note below all."""
    pictures = [Image.fromarray(lane.now.picture) for lane in lanes]
    side = min((width - GAP * (len(lanes) - 1)) // len(lanes), pictures[0].width)
    heights = [round(picture.height * side / picture.width) for picture in pictures]
    size = min(max(side // 18, 11), 20)
    line, band = round(1.3 * size), round(2.9 * size)
    total = len(lanes) * (side + GAP) - GAP
    page = Image.new("RGB", (total, band + max(heights) + (line if note else 0)), "white")
    pen = ImageDraw.Draw(page)
    for place, (lane, picture, height) in enumerate(zip(lanes, pictures, heights, strict=True)):
        left = place * (side + GAP)
        _label(pen, lane, clock, left, side, size)
        page.paste(picture.resize((side, height), Image.Resampling.BOX, reducing_gap=2.0), (left, band))
    if note:
        small = max(size - 3, 9)
        while small > 5 and pen.textlength(note, ImageFont.load_default(small)) > total - 4:
            small -= 1
        pen.text((2, band + max(heights) + line // 2), note, FAINT, ImageFont.load_default(small), anchor="lm")
    return np.asarray(page)


def _label(pen: ImageDraw.ImageDraw, lane: Lane, clock: float, left: int, side: int, size: int) -> None:
    """Method and steps; below, the score, and a clock that stops with the episode."""
    font = ImageFont.load_default(size)
    now, colour = lane.now, tuple(round(255 * part) for part in colour_of(lane.entrant.steps, lane.entrant.most))
    name = f"{lane.entrant.name}, {format_steps(lane.entrant.steps)}"
    pen.text((left + 2, 0.8 * size), name, colour, font, anchor="lm")
    measure = lane.play.world.measure
    score = f"{measure} {now.score:.{2 if score_entry(measure).is_fraction else 0}f}"
    pen.text((left + 2, 2.1 * size), score, INK, font, anchor="lm")
    shown = f"{now.clock if now.ended else clock:.1f} s"
    if now.ended.startswith(CRASHED):
        shown = f"crashed, {shown}"
    pen.text((left + side - 2, 2.1 * size), shown, FAINT if now.ended else INK, font, anchor="rm")
