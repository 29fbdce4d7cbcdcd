"""The commands of policies: `shortcut collect`, `rollout` and `race`."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import annotated_types as at
from tyro.conf import Positional

from ..config import Fraction, PositiveInt
from ..errors import UserError
from .parser import Command
from .shared import OnDevice, Runs, check_out, check_video_out, steps_of

if TYPE_CHECKING:
    from ..policies.collect import Learner
    from ..policies.rollout import PolicyRun

WorldSeed = Annotated[int, at.Ge(0), at.Le(2**31 - 1)]
"""seed of a world that a policy acts in"""


@dataclass(frozen=True, kw_only=True)
class Acting(OnDevice):
    """A command in which policies act."""

    environment: str | None = None
    """name of the environment: one of ours, the id of one of Gymnasium, or MODULE:FACTORY, a function or class of your
    own that returns one (default: that of the demonstrations)"""
    score: str | None = None
    """what judges an episode of Gymnasium: return, success, or info:KEY (default: return)"""
    max_episode_steps: PositiveInt | None = None
    """number of actions after which an episode of Gymnasium ends (default: its own limit)"""
    execute: PositiveInt | None = None
    """number of actions carried out before the next decision (default: the run's own)"""
    ensemble: float | None = None
    """decay of temporal ensembling, such as 0.01: the policy decides in every frame, and averages all its actions for
    that frame (default: none)"""

    def open(self, run: Path) -> "PolicyRun":
        """Return the policy of a run, and the environment that it acts in."""
        from ..policies.rollout import PolicyRun

        return PolicyRun.open(
            run, self.torch_device(), self.environment, self.execute, ensemble=self.ensemble, score=self.score,
            max_episode_steps=self.max_episode_steps,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Collect(Command):
    environment: Positional[str]
    """name of the environment: car-racing, or meta-world/TASK"""
    episodes: PositiveInt
    """number of episodes to keep, those of earlier calls included"""
    out: Path
    """folder of the demonstrations: new, empty, or that of an earlier call"""
    min_return: float | None = None
    """smallest return of an episode that is kept; the others are counted (default: keep all)"""
    seed: WorldSeed = 0
    """seed of the first episode; each has the next one"""
    noise: Fraction = 0.0
    """scale of the noise on the actions that are carried out; the expert's own actions are recorded, which shows how to
    recover; 1 is about the most that the expert recovers from"""
    perturbations: Annotated[float, at.Ge(0), at.Lt(1000)] = 0.0
    """mean number of perturbations in 1,000 frames; each holds a random action for 10 to 40 frames while the expert's
    own actions are recorded, which shows how to recover from farther off"""
    human: bool = False
    """drive yourself, with the keyboard or a gamepad"""
    policy: Path | None = None
    """run of a policy that acts, on the CPU, while the expert's actions are recorded (DAgger)"""
    steps: PositiveInt | None = None
    """number of sampling steps of each of the policy's decisions (default: 1)"""
    execute: PositiveInt | None = None
    """number of actions carried out after each of its decisions (default: the run's own)"""

    def __call__(self) -> None:
        from ..policies.collect import Settings, collect
        from ..policies.environments import open_environment
        from ..policies.experts import open_expert

        if self.human and self.policy is not None:
            raise UserError("--human and --policy exclude each other: choose one")
        driver = "human" if self.human else "expert"
        settings = Settings(driver, self.seed, self.noise, self.perturbations, self.min_return)
        expert = open_expert(self.environment, human=self.human)
        learner = self._learner()
        with contextlib.closing(expert), contextlib.closing(open_environment(self.environment)) as environment:
            say = lambda line: print(line, flush=True)
            scores = collect(self.environment, environment, expert, self.out, self.episodes, settings, say, learner)
        print(f"mean return {sum(scores) / len(scores):.1f} over {len(scores)} episodes")

    def _learner(self) -> "Learner | None":
        if self.policy is None:
            for option in ("steps", "execute"):
                if getattr(self, option) is not None:
                    raise UserError(f"--{option} is an option of a policy: pass --policy RUN too")
            return None
        from ..policies.collect import Learner
        from ..policies.rollout import PolicyRun
        from ..system.hashing import hash_tensors

        policy = PolicyRun.open(self.policy, environment=self.environment, execute=self.execute).policy
        (steps,) = steps_of([self.steps or 1], policy.model)
        weights = hash_tensors(policy.model.network.state_dict())[:8]
        run = f"{self.policy.resolve().name} of training step {policy.model.step:,} (weights {weights})"
        return Learner(f"{run} with --steps {steps} --execute {policy.execute}", policy, steps)


@dataclass(frozen=True, kw_only=True)
class Rollout(Acting):
    run: Positional[Path]
    """run directory or model.safetensors file of a policy"""
    steps: Sequence[int] = (1,)
    """numbers of sampling steps for each decision, 1 to the policy's largest"""
    episodes: PositiveInt = 100
    """number of episodes for each number of steps"""
    seed: WorldSeed = 1_000_000
    """seed of the first episode; seeds of the demonstrations are skipped"""
    workers: Annotated[int, at.Ge(1), at.Le(256)] = 1
    """number of processes, each with its share of the cores"""
    json: Path | None = None
    """file to write the table and every episode to, .json"""
    video: Path | None = None
    """file of a video of the first episode at each number of steps, .mp4 or .gif"""

    def __call__(self) -> None:
        check_out(self.json, ".json")
        if self.video is not None:
            check_video_out(self.video)
        from ..policies.rollout import fresh_seeds, roll_out
        from ..policies.table import result, table
        from ..system.files import write_json

        opened = self.open(self.run)
        if self.video is not None:
            opened.check_video()
        steps = steps_of(self.steps, opened.policy.model)
        seeds = fresh_seeds(self.episodes, self.seed, opened.policy.task.seeds)
        found = result(opened, steps, roll_out(opened.factory, opened.records, steps, seeds, workers=self.workers))
        print(table(found), flush=True)
        if self.json is not None:
            write_json(self.json, found)
        if self.video is not None:
            watch(self.video, [(opened, n) for n in steps], seeds[0])


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
            runs *= len(steps)
        elif len(steps) == 1:
            steps *= len(runs)
        if len(runs) != len(steps):
            raise UserError(f"--steps must be one number, or one for each of {len(runs)} runs, not {len(steps)}")
        opened = {run: self.open(run) for run in dict.fromkeys(runs)}
        policies = [opened[run] for run in runs]
        for policy, n in zip(policies, steps, strict=True):
            steps_of([n], policy.policy.model)
            if policy.environment != policies[0].environment:
                raise UserError(
                    f"{policy.run} acts in {policy.environment}, and {policies[0].run} in {policies[0].environment}: "
                    f"race runs of one environment"
                )
        watch(self.video, list(zip(policies, steps, strict=True)), self.seed, self.real_time, self.seconds)


def watch(
    out: Path, entries: "Sequence[tuple[PolicyRun, int]]", seed: int, real_time: bool = False,
    seconds: float | None = None,
) -> None:  # fmt: skip
    """Write the video of policies, each at a number of steps, in the world of a seed; print their scores."""
    from ..policies.race import clock_note, open_tracks, write_race
    from ..text import format_steps

    tracks = open_tracks(entries, seed, real_time=real_time)
    write_race(out, tracks, clock_note(entries[0][0], real_time=real_time), seconds)
    for track in tracks:
        track.environment.close()
        episode = track.episode.record()
        score = f"{track.environment.metric_name} {episode.score:.4g} after {episode.frames:,} frames"
        print(f"{track.contestant.name}, {format_steps(episode.steps)}: {score}, {episode.ended or 'not over yet'}")
    print(out)
