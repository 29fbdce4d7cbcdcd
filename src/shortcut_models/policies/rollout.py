"""Evaluating a policy: episodes in environments without demonstrations, at several numbers of steps."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import itertools
import json
import platform
import re
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import Stopped, UserError, first_line
from ..models.loading import assemble, find
from ..models.parts import describe
from ..models.run import Run
from ..system.files import cache_folder, write_json
from ..system.hashing import hash_tensors
from ..system.machine import processor
from ..system.progress import progress
from ..system.signals import StopRequest
from .environments import SEEDS, Environment, GymEnvironment, open_environment
from .episode import Episode
from .policy import Policy
from .workers import Job, WorkerFactory, play_jobs

FIRST_SEED = 1_000_000  # seed of the first evaluation episode, far from the seeds of usual demonstrations
RECORDS_VERSION = 2  # changes when an episode depends on more than the other facts in `folder_name`
_TYPES = typing.get_type_hints(Episode)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python, this package, torch, numpy, and those of `packages` that are installed."""
    found = {"python": platform.python_version(), "shortcut-models": __version__}
    for name in ("torch", "numpy", *packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def folder_name(policy: Policy, environment: str, versions: Mapping[str, str], more: Mapping[str, str | int]) -> str:
    """Return a name that follows from all that determines an episode, except its seed and number of steps.

    more: facts of the environment beside its name.
    """
    model = policy.model
    parts = describe(model.objective), describe(policy.task)
    weights = hash_tensors(model.network.state_dict())
    facts = [RECORDS_VERSION, weights, *parts, environment, dict(versions), policy.execute, model.device.type]
    facts += [dict(more)] if more else []
    facts += [] if policy.ensemble is None else [f"ensemble {policy.ensemble}"]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', environment)}-{digest}"


class Records:
    """A folder with a file for each episode, so that a rollout can continue; any of it may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, steps: int, seed: int) -> Path:
        """Return the file of an episode."""
        return self.folder / f"{steps}-steps" / f"{seed:08d}.json"

    def write(self, episode: Episode) -> None:
        """Write the record of an episode."""
        write_json(self.path(episode.steps, episode.seed), dataclasses.asdict(episode))

    def read(self, steps: int, seed: int) -> Episode | None:
        """Return the record of an episode, or None without one; raise UserError if the file is damaged."""
        path = self.path(steps, seed)
        try:
            found = Episode(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            found = None
        valid = found is not None and all(type(value) is _TYPES[name] for name, value in vars(found).items())
        if found is None or not valid or (found.steps, found.seed) != (steps, seed):
            raise UserError(f"{path} is damaged: remove it, and the same command plays that episode again")
        return found


@dataclass(frozen=True)
class PolicyRun:
    """The policy of a run, and the environment that it acts in."""

    run: Path
    policy: Policy
    environment: str  # name of the environment
    metric_name: str  # what a score is
    versions: Mapping[str, str]  # versions of the packages that determine what happens
    factory: WorkerFactory  # creates both in another process

    facts: Mapping[str, str | int]  # what else determines an episode or its score

    @classmethod
    def open(
        cls, run: Path, device: str = "cpu", environment: str | None = None, execute: int | None = None, *,
        ensemble: float | None = None, score: str | None = None, max_episode_steps: int | None = None,
    ) -> "PolicyRun":  # fmt: skip
        """Load the policy of a run directory or a model file, and check that it fits the environment.

        Args:
            run: the directory or file.
            device: where the network runs.
            environment: its name, as for `open_environment`; None for that of the demonstrations.
            execute, ensemble: as for `Policy`.
            score, max_episode_steps: as for `open_environment`.

        Raises:
            UserError: one of these cannot be opened, or they do not fit.
        """
        weights, content = find(run)
        try:
            policy = Policy(assemble(*content, weights, device=device), execute, ensemble=ensemble)
        except UserError as error:
            raise UserError(f"{run}: {error}") from None
        name = environment or policy.task.environment
        if not name:
            raise UserError(
                f"the demonstrations of {run} do not name their environment: pass --environment with one of ours, an "
                f"id of Gymnasium, or MODULE:FACTORY"
            )
        given = {"score": score, "max_episode_steps": max_episode_steps}
        options: dict[str, Any] = {option: value for option, value in given.items() if value is not None}
        opened = open_environment(name, None, **options)
        try:
            _check_fit(run, policy, name, opened)
            if isinstance(opened, GymEnvironment):
                options["max_episode_steps"] = opened.max_episode_steps  # so that no process warns again
            factory = WorkerFactory(
                # Not `run`, which may get another checkpoint before a worker opens it.
                functools.partial(Policy.load, weights, device=device, execute=execute, ensemble=ensemble),
                functools.partial(open_environment, name, policy.task.names, **options),
                processor(policy.model.device),
            )
            found = {**versions(opened.packages), **opened.sources}
            return cls(run, policy, name, opened.metric_name, found, factory, opened.facts)
        finally:
            opened.close()

    def check_video(self) -> None:
        """Raise UserError, before any episode, where the environment does not draw pictures."""
        environment = self.factory.environment()
        try:
            environment.reset(seed=0)
            environment.render()
        except UserError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(f"{self.environment} fails at the start: {reason}") from None
        finally:
            environment.close()

    @functools.cached_property
    def records(self) -> Records:
        """The records of its episodes: in the run, or in the cache folder where it is a file."""
        folder = Run(self.run).rollouts if self.run.is_dir() else cache_folder("rollouts")
        return Records(folder / folder_name(self.policy, self.environment, self.versions, self.facts))


def _check_fit(run: Path, policy: Policy, name: str, environment: Environment) -> None:
    """Raise UserError where an environment lacks what a policy sees, has it in another shape, or other actions."""
    missing = [needed for needed in policy.task.names if needed not in environment.observation_names]
    if missing:
        raise UserError(
            f"{run} needs {missing[0]}, which {name} does not offer: choose another environment (this one offers "
            f"{', '.join(environment.observation_names)})"
        )
    if isinstance(environment, GymEnvironment):
        try:
            policy.copy().observe(environment.blank(policy.task.names))
        except UserError as error:
            raise UserError(f"{run} does not fit {name}: {error}") from None
    size, expected = policy.task.shape[-1], len(environment.action_space.low)
    if size != expected:
        raise UserError(
            f"an action of {run} has size {size}, and one of {name} size {expected}: choose another environment"
        )


def fresh_seeds(count: int, first: int = FIRST_SEED, used: Collection[int] = ()) -> list[int]:
    """Return the first `count` seeds from `first` on that are not in `used`; raise UserError if there are fewer."""
    known = frozenset(used)
    found = list(itertools.islice((seed for seed in range(first, SEEDS) if seed not in known), count))
    if len(found) < count:
        raise UserError(f"there are fewer than {count} seeds from {first} to {SEEDS - 1}: use a smaller --seed")
    return found


def roll_out(
    factory: WorkerFactory, records: Records, steps: Sequence[int], seeds: Sequence[int], *,
    workers: int = 1, quiet: bool = False,
) -> list[Episode]:  # fmt: skip
    """Play an episode for each number of steps and each seed, except those with a record, and record it.

    An episode follows from its seed and number of steps alone, not from the workers. All numbers of steps of a seed are
    played together, so that an interrupted rollout can be compared; a signal raises Stopped, and the records stay.
    Return all episodes, by seed and then in the order of `steps`.
    """
    found = {Job(n, seed): records.read(n, seed) for seed in seeds for n in steps}
    missing = [job for job, episode in found.items() if episode is None]
    with (
        StopRequest() as stop,
        contextlib.closing(play_jobs(factory, missing, workers, lambda: stop.signal_number is not None)) as episodes,
        progress(len(found), "episode", quiet=quiet, initial=len(found) - len(missing)) as bar,
    ):
        for episode in episodes:
            records.write(episode)
            found[Job(episode.steps, episode.seed)] = episode
            bar.update()
    played = [episode for episode in found.values() if episode is not None]
    if stop.signal_number is not None and len(played) < len(found):
        raise Stopped(f"stopped with {len(played)} of {len(found)} episodes played", stop.signal_number)
    return played
