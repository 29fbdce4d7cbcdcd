"""A race: policies side by side in the same world, as the frames of a video."""

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
from .episode import CRASHED, Actor, RunningEpisode, warm_up
from .rollout import PolicyRun

HOLD_SECONDS = 2.0  # how long the last frame is shown
GAP = 8  # pixels between panels
TOLERANCE = 1e-6  # seconds by which two equal times may differ


@dataclass(frozen=True)
class Contestant:
    """A policy in a race, and its number of sampling steps."""

    name: str
    policy: Actor
    steps: int
    max_steps: int  # the most steps of its method, for the colour


class FrameState(NamedTuple):
    """What a video shows of a contestant at one frame."""

    picture: Frame
    score: float
    ended: str
    clock: float  # seconds since the start


class Track:
    """The episode of a contestant, by the clock of the race.

    The environment reaches frame k at clock_k, with clock_(k+1) = clock_k + 1 / render_fps. In real time it waits for a
    policy that takes longer: clock_(k+1) = clock_k + max(1 / render_fps, seconds of the policy at frame k). The time of
    the simulator is left out, as it does not depend on the policy.
    """

    def __init__(self, contestant: Contestant, environment: Environment, seed: int, *, real_time: bool = False) -> None:
        """Start the episode; raise UserError if the observations are not the policy's, or the environment fails."""
        self.contestant, self.environment, self.real_time = contestant, environment, real_time
        self.period = 1 / environment.render_fps
        try:
            warm_up(contestant.policy, environment)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the environment fails at the start: {type(error).__name__}: {error}") from None
        self.episode = RunningEpisode(contestant.policy, environment, contestant.steps, seed)
        if self.episode.ended:
            raise UserError(f"the environment fails with seed {seed}: {self.episode.ended}")
        self.now = FrameState(environment.render(), 0.0, "", 0.0)
        self._next = self._advance()

    def _advance(self) -> FrameState:
        seconds = self.episode.advance()
        clock = self.now.clock + (max(self.period, seconds) if self.real_time else self.period)
        crashed = self.episode.ended.startswith(CRASHED)
        picture = self.now.picture if crashed else self.environment.render()
        return FrameState(picture, self.episode.score, self.episode.ended, clock)

    def advance_to(self, clock: float) -> None:
        """Play up to this time."""
        while not self.now.ended and self._next.clock <= clock + TOLERANCE:
            self.now = self._next
            self._next = self._advance()


def open_tracks(entries: Sequence[tuple[PolicyRun, int]], seed: int, *, real_time: bool = False) -> list[Track]:
    """Return a track for each policy and number of steps, named by its method, in environments of the same seed.

    Warn where a policy was trained on a demonstration with this seed.
    """
    methods = [str(describe(run.policy.model.objective)["name"]) for run, _ in entries]
    are_distinct = len({(method, n) for method, (_, n) in zip(methods, entries, strict=True)}) == len(entries)
    tracks = []
    for method, (run, steps) in zip(methods, entries, strict=True):
        if seed in run.policy.task.seeds:
            warnings.warn(f"{run.run} was trained on a demonstration with seed {seed}", stacklevel=2)
        policy = run.policy.copy()
        name = method if are_distinct else run.run.resolve().name
        contestant = Contestant(name, policy, steps, policy.model.objective.max_steps)
        tracks.append(Track(contestant, run.factory.environment(), seed, real_time=real_time))
    return tracks


def clock_note(run: PolicyRun, *, real_time: bool) -> str:
    """Return the line below the video that explains its clock."""
    if not real_time:
        return "simulated time: policies take no time"
    threads = torch.get_num_threads()
    where = f"{run.factory.device}, {threads} thread{'s' if threads > 1 else ''}"
    return f"real time: the environment waits while a policy decides ({where})"


def race(
    tracks: Sequence[Track], rate: int, width: int, note: str = "", seconds: float | None = None
) -> Iterator[Frame]:
    """Yield the frames of a video, at most `width` pixels wide, until all episodes have ended, and HOLD_SECONDS longer.

    `rate` is in frames per second, `note` a line below the pictures, and `seconds` the longest duration of the video.
    """
    tick, held = 0, 0
    while held <= HOLD_SECONDS * rate and (seconds is None or tick < seconds * rate):
        for track in tracks:
            track.advance_to(tick / rate)
        yield draw_frame(tracks, tick / rate, width, note)
        tick, held = tick + 1, held + all(track.now.ended for track in tracks)


def write_race(out: Path, tracks: Sequence[Track], note: str, seconds: float | None = None) -> None:
    """Write the video of a race, MP4 or GIF; see `write_video`."""
    rate = rate_of(out, tracks[0].environment.render_fps)

    def frames() -> Iterator[Frame]:
        with progress(None, "frame", desc=out.name, disable=None) as bar:
            for frame in race(tracks, rate, width_of(out), note, seconds):
                yield frame
                bar.update()

    write_video(out, frames(), rate)


def draw_frame(tracks: Sequence[Track], clock: float, width: int, note: str) -> Frame:
    """Return all tracks side by side, each below its name, score and clock, with the note at the bottom."""
    pictures = [Image.fromarray(track.now.picture) for track in tracks]
    side = min((width - GAP * (len(tracks) - 1)) // len(tracks), pictures[0].width)
    heights = [round(picture.height * side / picture.width) for picture in pictures]
    size = min(max(side // 18, 11), 20)
    line, header = round(1.3 * size), round(2.9 * size)
    total = len(tracks) * (side + GAP) - GAP
    page = Image.new("RGB", (total, header + max(heights) + (line if note else 0)), "white")
    pen = ImageDraw.Draw(page)
    for place, (track, picture, height) in enumerate(zip(tracks, pictures, heights, strict=True)):
        left = place * (side + GAP)
        _draw_header(pen, track, clock, left, side, size)
        page.paste(picture.resize((side, height), Image.Resampling.BOX, reducing_gap=2.0), (left, header))
    if note:
        small = max(size - 3, 9)
        while small > 5 and pen.textlength(note, ImageFont.load_default(small)) > total - 4:
            small -= 1
        pen.text((2, header + max(heights) + line // 2), note, FAINT, ImageFont.load_default(small), anchor="lm")
    return np.asarray(page)


def _draw_header(pen: ImageDraw.ImageDraw, track: Track, clock: float, left: int, side: int, size: int) -> None:
    """Draw method and steps; below, the score, and a clock that stops with the episode."""
    font = ImageFont.load_default(size)
    contestant, now = track.contestant, track.now
    colour = tuple(round(255 * part) for part in colour_of(contestant.steps, contestant.max_steps))
    pen.text((left + 2, 0.8 * size), f"{contestant.name}, {format_steps(contestant.steps)}", colour, font, anchor="lm")
    metric = track.environment.metric_name
    score = f"{metric} {now.score:.{2 if score_entry(metric).is_fraction else 0}f}"
    pen.text((left + 2, 2.1 * size), score, INK, font, anchor="lm")
    crashed = "crashed, " if now.ended.startswith(CRASHED) else ""
    shown = f"{crashed}{now.clock if now.ended else clock:.1f} s"
    pen.text((left + side - 2, 2.1 * size), shown, FAINT if now.ended else INK, font, anchor="rm")
