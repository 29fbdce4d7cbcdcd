"""Judging a policy: episodes on worlds that no demonstration came from, at several numbers of steps."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Stopped, UserError
from ..models.loading import assemble, find, load
from ..models.model import Model
from ..models.run import Run
from ..system.files import cache_folder
from ..system.machine import processor
from ..system.progress import progress
from ..system.signals import StopRequest
from .environments import SEEDS, open_environment
from .episode import Episode
from .policy import Policy
from .records import Records, folder_name, versions
from .workers import Job, Setting, Workers

FIRST_SEED = 1_000_000
"""of fresh episodes: far from those that people collect with"""


@dataclass(frozen=True)
class Arena:
    """The policy of a run, and the environment that it acts in."""

    run: Path
    policy: Policy
    environment: str
    """its name"""
    measure: str
    """what a score is"""
    versions: Mapping[str, str]
    """of the packages that decide what happens in it"""
    setting: Setting
    """how another process gets both"""

    @classmethod
    def open(cls, run: Path, device: str = "cpu", environment: str | None = None, execute: int | None = None) -> Arena:
        """Load the policy of a run, and see that it fits the environment.

        environment: none: that of the demonstrations. execute: actions of each decision; none: the policy's own.

        Raises UserError where the run is none of a policy, where there is no such environment or a package for it is
        missing, and where its observations or actions are not the policy's.
        """
        weights, content = find(run)
        policy = _acting(assemble(*content, weights, device=device), run, execute)
        name = environment or policy.imitation.environment
        if not name:
            raise UserError(f"the demonstrations of {run} do not name their environment: give --environment")
        setting = Setting(
            functools.partial(open_policy, weights, device, execute),  # not `run`, which may be in training
            functools.partial(open_environment, name, policy.imitation.names),
            processor(policy.device),
        )
        world = open_environment(name, None)
        try:
            hidden = [seen for seen in policy.imitation.names if seen not in world.sees]
            if hidden:
                raise UserError(f"{run} sees {hidden[0]}, which {name} does not show: give another environment")
            size, wanted = policy.task.shape[-1], len(world.low)
            if size != wanted:
                raise UserError(
                    f"an action of {run} has size {size}, and one of {name} size {wanted}: give another environment"
                )
            return cls(run, policy, name, world.measure, versions(world.packages), setting)
        finally:
            world.close()

    @functools.cached_property
    def records(self) -> Records:
        """Where its episodes are kept: in the run, or in the cache folder for a file."""
        folder = Run(self.run).rollouts if self.run.is_dir() else cache_folder("rollouts")
        return Records(folder / folder_name(self.policy, self.environment, self.versions))


def open_policy(weights: Path, device: str, execute: int | None) -> Policy:
    """The policy of a model file. Raises UserError as `Arena.open`."""
    return _acting(load(weights, device=device), weights, execute)


def _acting(model: Model, run: Path, execute: int | None) -> Policy:
    if not isinstance(model, Policy):
        raise UserError(f"{run} is no policy, as it did not learn from demonstrations: see `shortcut evaluate`")
    return model if execute is None else dataclasses.replace(model, execute=execute)


def fresh_seeds(count: int, first: int = FIRST_SEED, used: Collection[int] = ()) -> list[int]:
    """The first `count` seeds from `first` on that were not used. Raises UserError where there are not so many."""
    known = frozenset(used)
    found = list(itertools.islice((seed for seed in range(first, SEEDS) if seed not in known), count))
    if len(found) < count:
        raise UserError(f"there are no {count} seeds from {first} to {SEEDS - 1}: give a smaller --seed")
    return found


def roll_out(
    setting: Setting,
    records: Records,
    steps: Sequence[int],
    seeds: Sequence[int],
    *,
    workers: int = 1,
    quiet: bool = False,
) -> list[Episode]:
    """Play an episode for each number of steps and each seed, as far as it is not recorded, and record it.

    An episode follows from its seed and number of steps alone, whatever `workers` is. All numbers of steps of a seed
    come together, so that what is there when it is stopped can be compared.

    Args:
        setting: how a process gets its policy and its world.
        records: where episodes are kept.
        steps: passes through the network for each decision.
        seeds: of the episodes at each number of steps.
        workers: processes, each with its share of the threads.
        quiet: no progress bar.

    Returns:
        All of them, by seed and then in the order of `steps`.

    Raises:
        UserError: a record that is damaged, or a policy and an environment that cannot be opened or do not fit.
        Stopped: a signal asked for it; what was played is recorded.
    """
    found = {Job(n, seed): records.read(n, seed) for seed in seeds for n in steps}
    missing = [job for job, episode in found.items() if episode is None]
    with (
        StopRequest() as stop,
        Workers(setting, workers) as team,
        progress(len(found), "episode", quiet=quiet, initial=len(found) - len(missing)) as bar,
    ):
        for episode in team.play(missing, stop=lambda: stop.signal_number is not None):
            records.write(episode)
            found[Job(episode.steps, episode.seed)] = episode
            bar.update()
    played = [episode for episode in found.values() if episode is not None]
    if stop.signal_number is not None and len(played) < len(found):
        raise Stopped(f"stopped with {len(played)} of {len(found)} episodes played", stop.signal_number)
    return played
