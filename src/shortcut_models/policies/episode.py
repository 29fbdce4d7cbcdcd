"""One episode: a policy acts in an environment, frame by frame."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from .environments import Environment, Observation, ScoreError

DONE, TIME_LIMIT, CRASHED = "done", "time limit", "crashed"
MAX_REASON = 300  # characters of a crash's reason that are kept


@runtime_checkable
class Actor(Protocol):
    """The part of `Policy` that an episode needs."""

    decided: bool  # whether the last call of `act` ran the network

    def reset(self, environments: int | None = None, seed: int = 0) -> None:
        """Start an episode whose noise follows from the seed."""

    def act(self, observation: Observation, steps: int = 1) -> np.ndarray:
        """Return the action for this frame, float32 [action]."""


@dataclass(frozen=True)
class Episode:
    """The record of an episode."""

    steps: int  # sampling steps of each decision
    seed: int  # of the environment and of the policy's noise
    score: float  # the environment's metric at the end; of an episode that crashed, at its last whole frame
    frames: int  # actions that were executed
    decisions: int  # frames at which the network ran
    policy_seconds: float  # time in the policy, at all frames
    decision_seconds: float
    """time in the policy at the frames at which its network ran, with the encoding of observations"""
    simulator_seconds: float  # time in the environment's `step`, at all frames
    ended: str  # done, time limit, or crashed: reason
    timed_on: str = ""  # the device, and how many processes and threads shared the machine

    @property
    def crashed(self) -> bool:
        """Whether the environment, its process or the policy failed."""
        return self.ended.startswith(CRASHED)


class RunningEpisode:
    """An episode in progress. An exception of the policy or the environment, but ScoreError, ends it as crashed."""

    def __init__(self, policy: Actor, environment: Environment, steps: int, seed: int) -> None:
        self.policy, self.environment, self.steps, self.seed = policy, environment, steps, seed
        self.frames = self.decisions = 0
        self.score = self.policy_seconds = self.decision_seconds = self.simulator_seconds = 0.0
        self.ended = ""
        """as `Episode.ended`; empty while it is in progress"""
        with self._catch_crash():
            policy.reset(seed=seed)
            self._observation, _ = environment.reset(seed=seed)

    @contextlib.contextmanager
    def _catch_crash(self) -> Iterator[None]:
        try:
            yield
        except ScoreError:  # of every episode
            raise
        except Exception as error:
            self.ended = crash(f"{type(error).__name__}: {error}")

    def advance(self) -> float:
        """Act for one frame, unless the episode has ended, and return the seconds that the policy took."""
        before = self.policy_seconds
        if not self.ended:
            with self._catch_crash():
                self._act()
        return self.policy_seconds - before

    def _act(self) -> None:
        begin = time.perf_counter()
        action = self.policy.act(self._observation, steps=self.steps)
        acted = time.perf_counter()
        self._observation, _, terminated, truncated, _ = self.environment.step(action)
        self.simulator_seconds += time.perf_counter() - acted
        self.policy_seconds += acted - begin
        if self.policy.decided:
            self.decisions += 1
            self.decision_seconds += acted - begin
        self.frames += 1
        score = float(self.environment.metric())
        if not math.isfinite(score):
            raise ValueError(f"the score is {score}")
        self.score = score
        if truncated or self.frames >= self.environment.max_episode_steps:
            self.ended = TIME_LIMIT
        elif terminated:
            self.ended = DONE

    def record(self, timed_on: str = "") -> Episode:
        """Return the record of the episode so far."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(Episode)[:-1]}
        return Episode(**facts, timed_on=timed_on)


def crash(reason: str) -> str:
    """Return `Episode.ended` of an episode that crashed, in one line."""
    return f"{CRASHED}: {' '.join(reason.split())[:MAX_REASON]}"


def play(policy: Actor, environment: Environment, steps: int, seed: int, timed_on: str = "") -> Episode:
    """Play an episode to its end."""
    episode = RunningEpisode(policy, environment, steps, seed)
    while not episode.ended:
        episode.advance()
    return episode.record(timed_on)


def warm_up(policy: Actor, environment: Environment) -> None:
    """Let a policy decide once, so that slow first calls are not timed later, and mistakes are found early."""
    policy.reset()
    observation, _ = environment.reset(seed=0)
    policy.act(observation)
