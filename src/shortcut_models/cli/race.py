"""The command `shortcut race`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import annotated_types as at

from ..errors import UserError
from .shared import Acting, Runs, WorldSeed, check_steps, check_video_out

if TYPE_CHECKING:
    from ..policies.rollout import PolicyRun


@dataclass(frozen=True, kw_only=True)
class Race(Acting):
    runs: Runs
    """run directories or model.safetensors files of policies"""
    video: Path
    """file of the video, .mp4 or .gif"""
    steps: Sequence[int] = (1,)
    """numbers of sampling steps for each decision: one for all runs, one for each run, or several for a single run"""
    seed: WorldSeed = 1_000_000
    """seed of the world and of the policies' noises"""
    real_time: bool = False
    """let the world wait as long as a policy takes to decide on this machine"""
    seconds: Annotated[float, at.Gt(0)] | None = None
    """longest duration of the video in seconds (default: until all have finished)"""

    def __call__(self) -> None:
        check_video_out(self.video)
        runs, steps = list(self.runs), list(self.steps)
        if len(runs) == 1:
            runs = runs * len(steps)
        elif len(steps) == 1:
            steps = steps * len(runs)
        if len(runs) != len(steps):
            raise UserError(f"--steps must be one number, or one for each of {len(runs)} runs, not {len(steps)}")
        from ..policies.rollout import PolicyRun

        device = self.torch_device()
        opened = {run: PolicyRun.open(run, device, self.environment, self.execute) for run in dict.fromkeys(runs)}
        policies = [opened[run] for run in runs]
        for policy, n in zip(policies, steps, strict=True):
            check_steps(n, policy.policy.model)
            if policy.environment != policies[0].environment:
                raise UserError(
                    f"{policy.run} acts in {policy.environment}, and {policies[0].run} in {policies[0].environment}: "
                    f"race runs of one environment"
                )
        watch(self.video, list(zip(policies, steps, strict=True)), self.seed, self.real_time, self.seconds)


def watch(
    out: Path,
    entries: Sequence[tuple[PolicyRun, int]],
    seed: int,
    real_time: bool = False,
    seconds: float | None = None,
) -> None:
    """Write the video of policies, each at a number of steps, in the world of a seed; print their scores."""
    from ..policies.race import clock_note, open_tracks, write_race
    from ..text import format_steps

    tracks = open_tracks(entries, seed, real_time=real_time)
    write_race(out, tracks, clock_note(entries[0][0], real_time=real_time), seconds)
    for track in tracks:
        track.environment.close()
        episode = track.episode.record()
        metric, name = track.environment.metric_name, track.contestant.name
        print(
            f"{name}, {format_steps(episode.steps)}: {metric} {episode.score:.4g} after {episode.frames:,} frames, "
            f"{episode.ended or 'not over yet'}"
        )
    print(out)
