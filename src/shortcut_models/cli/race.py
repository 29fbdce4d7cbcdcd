"""The command `shortcut race`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Parser, number, whole_number
from ..errors import UserError
from .shared import add_policy, check_seed, check_steps, check_video_out, device_of

if TYPE_CHECKING:
    from ..policies.rollout import PolicyRun

ABOUT = "show policies side by side in the same world, or one of them at several numbers of steps"


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="policies' run directories or model.safetensors files"
    )
    add_policy(parser, "runs'")
    parser.add_argument(
        "--steps", type=whole_number, nargs="+", default=[1], metavar="N",
        help="sampling steps for each decision: one number for all, one for each run, or several for a single run "
        "(default 1)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=whole_number, default=1_000_000, metavar="N",
        help="of the world and of the policies' noises; 0 to 2147483647 (default 1000000)",
    )  # fmt: skip
    parser.add_argument("--video", type=Path, required=True, metavar="FILE", help="what to write; .mp4 or .gif")
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="let the world wait as long as a policy takes to decide here",
    )
    parser.add_argument(
        "--seconds", type=number, metavar="X", help="of the video at most; > 0 (default: until all have finished)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_seed(args)
    if args.seconds is not None and not args.seconds > 0:
        raise UserError(f"--seconds must be > 0, not {args.seconds}")
    check_video_out(args.video)
    runs, steps = args.runs, args.steps
    if len(runs) == 1:
        runs = runs * len(steps)
    elif len(steps) == 1:
        steps = steps * len(runs)
    if len(runs) != len(steps):
        raise UserError(f"--steps must be one number, or one for each of {len(runs)} runs, not {len(steps)}")
    from ..policies.rollout import PolicyRun

    opened = {run: PolicyRun.open(run, device_of(args), args.environment, args.execute) for run in dict.fromkeys(runs)}
    policies = [opened[run] for run in runs]
    for policy, n in zip(policies, steps, strict=True):
        check_steps(n, policy.policy.model)
        if policy.environment != policies[0].environment:
            raise UserError(
                f"{policy.run} acts in {policy.environment}, and {policies[0].run} in {policies[0].environment}: race "
                f"runs of one environment"
            )
    watch(args.video, list(zip(policies, steps, strict=True)), args.seed, args.real_time, args.seconds)


def watch(
    out: Path,
    entries: Sequence[tuple[PolicyRun, int]],
    seed: int,
    real_time: bool = False,
    seconds: float | None = None,
) -> None:
    """Write the video of policies, each at a number of steps, in the world of a seed; print what each scored."""
    from ..policies.race import clock_note, open_tracks, write_race
    from ..text import format_steps

    tracks = open_tracks(entries, seed, real_time=real_time)
    write_race(out, tracks, clock_note(entries[0][0], real_time=real_time), seconds)
    for track in tracks:
        track.environment.close()
        episode = track.episode.record()
        print(
            f"{track.contestant.name}, {format_steps(episode.steps)}: {track.environment.metric_name} "
            f"{episode.score:.4g} after "
            f"{episode.frames:,} frames, {episode.ended or 'not over yet'}"
        )
    print(out)
