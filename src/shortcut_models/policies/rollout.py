"""Evaluating a policy: episodes in environments without demonstrations, at several numbers of steps."""

import contextlib
import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Stopped, UserError
from ..models.loading import assemble, find
from ..models.run import Run
from ..system.files import cache_folder
from ..system.machine import processor
from ..system.progress import StopRequest, progress
from .environments import SEEDS, open_environment
from .episode import Episode
from .policy import Policy
from .records import Records, folder_name, versions
from .workers import Job, WorkerFactory, play_jobs

FIRST_SEED = 1_000_000  # seed of the first evaluation episode, far from the seeds of usual demonstrations


@dataclass(frozen=True)
class PolicyRun:
    """The policy of a run, and the environment that it acts in."""

    run: Path
    policy: Policy
    environment: str  # name of the environment
    metric_name: str  # what a score is
    versions: Mapping[str, str]  # versions of the packages that determine what happens
    factory: WorkerFactory  # creates both in another process

    @classmethod
    def open(
        cls, run: Path, device: str = "cpu", environment: str | None = None, execute: int | None = None
    ) -> "PolicyRun":
        """Load the policy of a run, and check that it fits the environment.

        Args:
            run: a run directory or a model file.
            device: where the network runs.
            environment: name of the environment; None for that of the demonstrations.
            execute: actions of a chunk that are executed; None for the task's number.

        Raises:
            UserError: the run is not a policy, the environment does not exist, a package is missing, or observations or
                actions of the two differ.
        """
        weights, content = find(run)
        try:
            policy = Policy(assemble(*content, weights, device=device), execute)
        except UserError as error:
            raise UserError(f"{run}: {error}") from None
        name = environment or policy.task.environment
        if not name:
            raise UserError(f"the demonstrations of {run} do not name their environment: pass --environment")
        opened = open_environment(name, None)
        try:
            missing = [needed for needed in policy.task.names if needed not in opened.observation_names]
            if missing:
                raise UserError(f"{run} needs {missing[0]}, which {name} does not offer: choose another environment")
            size, expected = policy.task.shape[-1], len(opened.action_space.low)
            if size != expected:
                raise UserError(
                    f"an action of {run} has size {size}, and one of {name} size {expected}: choose another environment"
                )
            factory = WorkerFactory(
                # Not `run`, which may get another checkpoint before a worker opens it.
                functools.partial(Policy.load, weights, device=device, execute=execute),
                functools.partial(open_environment, name, policy.task.names),
                processor(policy.model.device),
            )
            return cls(run, policy, name, opened.metric_name, versions(opened.packages), factory)
        finally:
            opened.close()

    @functools.cached_property
    def records(self) -> Records:
        """The records of its episodes: in the run, or in the cache folder where it is a file."""
        folder = Run(self.run).rollouts if self.run.is_dir() else cache_folder("rollouts")
        return Records(folder / folder_name(self.policy, self.environment, self.versions))


def fresh_seeds(count: int, first: int = FIRST_SEED, used: Collection[int] = ()) -> list[int]:
    """Return the first `count` seeds from `first` on that are not in `used`; raise UserError if there are fewer."""
    known = frozenset(used)
    found = list(itertools.islice((seed for seed in range(first, SEEDS) if seed not in known), count))
    if len(found) < count:
        raise UserError(f"there are fewer than {count} seeds from {first} to {SEEDS - 1}: use a smaller --seed")
    return found


def roll_out(
    factory: WorkerFactory,
    records: Records,
    steps: Sequence[int],
    seeds: Sequence[int],
    *,
    workers: int = 1,
    quiet: bool = False,
) -> list[Episode]:
    """Play an episode for each number of steps and each seed, except those with a record, and record it.

    An episode follows from its seed and number of steps alone, not from the workers. All numbers of steps of a seed are
    played together, so that an interrupted rollout can be compared.

    Args:
        factory: creates the policy and the environment of a process.
        records: where episodes are kept.
        steps: numbers of sampling steps.
        seeds: seeds of the episodes at each number of steps.
        workers: number of processes, each with its share of the threads.
        quiet: show no progress bar.

    Returns:
        All episodes, by seed and then in the order of `steps`.

    Raises:
        UserError: a record is damaged, or the policy or the environment cannot be opened, or they do not fit.
        Stopped: a signal asked to stop; the episodes that were played are recorded.
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
