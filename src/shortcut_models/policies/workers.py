"""Processes that play episodes. One that dies costs only the episode that it was playing."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

import torch

from ..errors import UserError
from .environments import Environment
from .episode import Actor, Episode, crash, play, warm_up

POLL_SECONDS = 0.2
"""the longest time after which a request to stop is noticed"""
_CONTEXT = multiprocessing.get_context("forkserver")
"""forks a server that has imported everything and computed nothing, so that a new process starts quickly"""


class Job(NamedTuple):
    """An episode to play."""

    steps: int
    seed: int


@dataclass(frozen=True)
class WorkerFactory:
    """Creates the policy and the environment of each process; both callables must be picklable."""

    policy: Callable[[], Actor]
    environment: Callable[[], Environment]
    device: str = "cpu"
    """name of the policy's device, for the records"""


class _Worker:
    """A process, and the episode that it plays."""

    job: Job | None
    """None until it is ready to play"""

    def __init__(self, factory: WorkerFactory, threads: int, timed_on: str) -> None:
        self.timed_on, self.job, self.is_dead = timed_on, None, False
        self.connection, child = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_run, args=(factory, threads, timed_on, child), daemon=True)
        self.process.start()
        child.close()  # else the end of the process would not close the connection

    def send(self, job: Job) -> None:
        """Let the process play an episode."""
        self.job = job
        with contextlib.suppress(OSError):  # the process has died: `receive` notices
            self.connection.send(job)

    def receive(self) -> Episode | None:
        """Return the episode that the process has played, or None if it only became ready to play."""
        try:
            received = self.connection.recv()
        except (EOFError, OSError):
            self.is_dead = True
            if self.job is None:
                raise UserError(f"{self._death()} before it could start: try fewer --workers") from None
            return Episode(*self.job, 0.0, 0, 0, 0.0, 0.0, 0.0, crash(self._death()), self.timed_on)
        if isinstance(received, UserError):
            raise received
        return received

    def _death(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        return f"the process ended with code {code}" if code >= 0 else f"{signal.Signals(-code).name} ended the process"

    def kill(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Workers(contextlib.AbstractContextManager["Workers"]):
    """Processes that play episodes, each with its share of this process's threads."""

    def __init__(self, factory: WorkerFactory, count: int) -> None:
        """Prepare `count` processes, at least 1."""
        _CONTEXT.set_forkserver_preload(["__main__", "shortcut_models.policies.rollout"])
        self.factory, self.count = factory, count
        self.threads = max(torch.get_num_threads() // count, 1)
        self.timed_on = f"{factory.device}, {count} x {self.threads} threads"
        self._workers: list[_Worker] = []

    def __exit__(self, *exception: object) -> None:
        while self._workers:
            self._workers.pop().kill()

    def play(self, jobs: Sequence[Job], stop: Callable[[], bool] = lambda: False) -> Iterator[Episode]:
        """Play episodes, and yield them in the order in which they end.

        Args:
            jobs: the episodes.
            stop: called several times a second; once it returns True, no more episodes follow.

        Raises:
            UserError: a process cannot open the policy or the environment, or they do not fit each other.
        """
        waiting = collections.deque(jobs)
        self._workers = [self._start() for _ in range(min(self.count, len(jobs)))]
        while self._workers and not stop():
            for connection in wait([worker.connection for worker in self._workers], POLL_SECONDS):
                worker = next(worker for worker in self._workers if worker.connection is connection)
                episode = worker.receive()
                if waiting and not worker.is_dead:
                    worker.send(waiting.popleft())
                else:
                    self._workers.remove(worker)
                    worker.kill()
                    self._workers += [self._start()] if waiting else []
                if episode is not None:
                    yield episode

    def _start(self) -> _Worker:
        return _Worker(self.factory, self.threads, self.timed_on)


def _run(factory: WorkerFactory, threads: int, timed_on: str, connection: Connection) -> None:
    """Run a process: report that it is ready, or why not, then play the episodes that it receives."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent ends this process
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # the parent has closed the connection
        try:
            _play_jobs(factory, timed_on, connection)
        except UserError as error:
            connection.send(error)


def _play_jobs(factory: WorkerFactory, timed_on: str, connection: Connection) -> None:
    """Play the episodes that arrive, without end."""
    policy, environment = _open(factory)
    connection.send(None)
    while True:
        job: Job = connection.recv()
        episode = play(policy, environment, job.steps, job.seed, timed_on)
        # Sent before another environment is opened, which may fail: the episode has the reason of the crash.
        connection.send(episode)
        if episode.crashed:  # an environment that failed once is not used again
            environment = _reopen(factory, environment)


def _open(factory: WorkerFactory) -> tuple[Actor, Environment]:
    """Return the policy and the environment, warmed up."""
    with _as_user_error():
        policy, environment = factory.policy(), factory.environment()
    try:
        warm_up(policy, environment)
    except UserError:
        raise
    except Exception:  # an episode may fail like this too, and then counts as crashed
        environment = _reopen(factory, environment)
    return policy, environment


def _reopen(factory: WorkerFactory, environment: Environment) -> Environment:
    with contextlib.suppress(Exception):
        environment.close()
    with _as_user_error():
        return factory.environment()


@contextlib.contextmanager
def _as_user_error() -> Iterator[None]:
    """Turn every exception into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the environment or the policy cannot be opened: {type(error).__name__}: {error}") from None


def _end_with_parent() -> None:
    """End this process when its parent has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
