"""Episodes in other processes. A process that dies costs only the episode that it was playing."""

import contextlib
import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch

from ..errors import UserError
from ..system.pool import ProcessDied, run_jobs
from .environments import Environment
from .episode import Actor, Episode, crash, play, warm_up

Part = TypeVar("Part")


class Job(NamedTuple):
    """An episode to play."""

    steps: int
    seed: int


@dataclass(frozen=True)
class WorkerFactory:
    """Creates the policy and the environment of each process; both callables must be picklable."""

    policy: Callable[[], Actor]
    environment: Callable[[], Environment]
    device: str = "cpu"  # name of the policy's device, for the records


def play_jobs(
    factory: WorkerFactory, jobs: Sequence[Job], count: int, stop: Callable[[], bool] = lambda: False
) -> Generator[Episode, None, None]:
    """Play episodes in `count` processes, each with its share of this one's threads; yield them in the order they end.

    Raise UserError if a process cannot open the policy or the environment, or they do not fit each other.
    """
    threads = max(torch.get_num_threads() // count, 1)
    timed_on = f"{factory.device}, {count} x {threads} threads"
    prepare = functools.partial(_Player, factory, timed_on)
    preload = "shortcut_models.policies.rollout"
    with contextlib.closing(run_jobs(prepare, jobs, count, threads=threads, stop=stop, preload=preload)) as results:
        for job, result in results:
            if isinstance(result, ProcessDied):
                result = Episode(*job, 0.0, 0, 0, 0.0, 0.0, 0.0, crash(str(result)), timed_on)
            if isinstance(result, BaseException):
                raise result
            yield result


class _Player:
    """The policy and the environment of a process. An environment that failed once is not used again."""

    def __init__(self, factory: WorkerFactory, timed_on: str) -> None:
        self.factory, self.timed_on = factory, timed_on
        self.policy, environment = _open(factory.policy), _open(factory.environment)
        self.environment: Environment | None = environment
        try:
            warm_up(self.policy, environment)
        except UserError:
            raise
        except Exception:  # an episode may fail like this too, and then counts as crashed
            self._close(environment)

    def __call__(self, job: Job) -> Episode:
        if self.environment is None:
            self.environment = _open(self.factory.environment)
        episode = play(self.policy, self.environment, *job, self.timed_on)
        if episode.crashed:
            self._close(self.environment)
        return episode

    def _close(self, environment: Environment) -> None:
        with contextlib.suppress(Exception):
            environment.close()
        self.environment = None


def _open(part: Callable[[], Part]) -> Part:
    """Return what it creates, and turn every exception into a UserError."""
    try:
        return part()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the environment or the policy cannot be opened: {type(error).__name__}: {error}") from None
