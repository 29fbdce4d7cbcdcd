"""Processes that play episodes. One that dies costs the episode that it was playing, and no more."""

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
from .episode import Actor, Episode, crash, play, rehearse

POLL = 0.2
"""seconds after which a request to stop is seen"""
_FORKS = multiprocessing.get_context("forkserver")
"""a server that has imported everything and computed nothing, so that a process begins at once, and a new one soon"""


class Job(NamedTuple):
    """An episode that is to be played."""

    steps: int
    seed: int


@dataclass(frozen=True)
class Setting:
    """How each process gets its policy and its world; both must be things that can be sent to another process."""

    policy: Callable[[], Actor]
    environment: Callable[[], Environment]
    device: str = "cpu"
    """name of what the policy runs on, for the records"""


class _Worker:
    """A process, and the episode that it is playing."""

    def __init__(self, setting: Setting, threads: int, timed_on: str) -> None:
        self.timed_on, self.job, self.dead = timed_on, None, False
        self.connection, theirs = _FORKS.Pipe()
        self.process = _FORKS.Process(target=_work, args=(setting, threads, timed_on, theirs), daemon=True)
        self.process.start()
        theirs.close()  # or the end of the process would not be the end of what it says

    job: Job | None

    def give(self, job: Job) -> None:
        """Let it play an episode."""
        self.job = job
        with contextlib.suppress(OSError):  # it has died: its connection says so too
            self.connection.send(job)

    def hear(self) -> Episode | None:
        """The episode that it has played; none where it is only ready to play one.

        Raises UserError where it cannot begin.
        """
        try:
            heard = self.connection.recv()
        except (EOFError, OSError):
            self.dead = True
            if self.job is None:
                raise UserError(f"{self._fate()} before it could begin: try fewer --workers") from None
            return Episode(*self.job, 0.0, 0, 0, 0.0, 0.0, 0.0, crash(self._fate()), self.timed_on)
        if isinstance(heard, UserError):
            raise heard
        return heard

    def _fate(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        return f"the process ended with code {code}" if code >= 0 else f"{signal.Signals(-code).name} ended the process"

    def end(self) -> None:
        """Have it gone."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Workers(contextlib.AbstractContextManager["Workers"]):
    """Processes that play episodes, each with its share of this one's threads."""

    def __init__(self, setting: Setting, count: int) -> None:
        """count: of processes, at least 1."""
        _FORKS.set_forkserver_preload(["__main__", "shortcut_models.rollout"])
        self.setting, self.count = setting, count
        self.threads = max(torch.get_num_threads() // count, 1)
        self.timed_on = f"{setting.device}, {count} x {self.threads} threads"
        self._team: list[_Worker] = []

    def __exit__(self, *exception: object) -> None:
        while self._team:
            self._team.pop().end()

    def play(self, jobs: Sequence[Job], stop: Callable[[], bool] = lambda: False) -> Iterator[Episode]:
        """Play episodes; they come in the order in which they end.

        stop: asked several times a second; once it is true, no more episodes come.

        Raises UserError where a process cannot open the policy or the environment, or they do not fit.
        """
        waiting = collections.deque(jobs)
        self._team = [self._new() for _ in range(min(self.count, len(jobs)))]
        while self._team and not stop():
            for connection in wait([worker.connection for worker in self._team], POLL):
                worker = next(worker for worker in self._team if worker.connection is connection)
                episode = worker.hear()
                if waiting and not worker.dead:
                    worker.give(waiting.popleft())
                else:
                    self._team.remove(worker)
                    worker.end()
                    self._team += [self._new()] if waiting else []
                if episode is not None:
                    yield episode

    def _new(self) -> _Worker:
        return _Worker(self.setting, self.threads, self.timed_on)


def _work(setting: Setting, threads: int, timed_on: str, connection: Connection) -> None:
    """What a process does: say that it is ready, or why not; then play what it is given."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the process that started this one ends it
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # nobody listens any more
        try:
            _serve(setting, timed_on, connection)
        except UserError as error:
            connection.send(error)


def _serve(setting: Setting, timed_on: str, connection: Connection) -> None:
    """Play without end. Raises UserError where the policy or a world cannot be had, or they do not fit each other."""
    policy, world = _open(setting)
    connection.send(None)
    while True:
        job: Job = connection.recv()
        episode = play(policy, world, job.steps, job.seed, timed_on)
        connection.send(episode)  # before another world is opened, which may fail too: it has the reason of the crash
        if episode.crashed:  # a world that failed once is not used again
            world = _reopen(setting, world)


def _open(setting: Setting) -> tuple[Actor, Environment]:
    """The policy and the world, used once. Raises UserError where they cannot be had, or do not fit each other."""
    with _said():
        policy, world = setting.policy(), setting.environment()
    try:
        rehearse(policy, world)
    except UserError:
        raise
    except Exception:  # an episode may end like this too, and then it is counted
        world = _reopen(setting, world)
    return policy, world


def _reopen(setting: Setting, world: Environment) -> Environment:
    with contextlib.suppress(Exception):
        world.close()
    with _said():
        return setting.environment()


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Turn whatever goes wrong into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the environment or the policy cannot be opened: {type(error).__name__}: {error}") from None


def _end_with_parent() -> None:
    """Do not go on for nobody, where the process that started this one was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
