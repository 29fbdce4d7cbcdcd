"""One episode: a policy acts in an environment, frame by frame, and what came of it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from .environments import Environment, Observation

DONE, TIME_LIMIT, CRASHED = "done", "time limit", "crashed"
LONGEST = 300
"""characters that are kept of what a crash said"""


@runtime_checkable
class Actor(Protocol):
    """What an episode needs of a `Policy`."""

    decided: bool
    """whether the last call of `act` ran the network"""

    def reset(self, environments: int | None = None, seed: int = 0) -> None:
        """Begin an episode; noises follow from the seed."""

    def act(self, observation: Observation, steps: int = 1) -> np.ndarray:
        """What to do now, float32 [action]."""


@dataclass(frozen=True)
class Episode:
    """What is kept of an episode."""

    steps: int
    """passes through the network, for each decision"""
    seed: int
    """of the world and of the policy's noises"""
    score: float
    """in units of the environment's measure; of one that crashed, what is known of it, or 0"""
    frames: int
    """actions that were carried out"""
    decisions: int
    """frames at which the network ran"""
    policy_seconds: float
    """in the policy, over all frames"""
    decision_seconds: float
    """in the policy, at the frames at which its network ran: encoding what was seen included"""
    simulator_seconds: float
    """in the environment, over all frames; beginning the episode is not counted"""
    ended: str
    """done, time limit, or crashed: why"""
    timed_on: str = ""
    """the device, and how many processes and threads shared the machine"""

    @property
    def crashed(self) -> bool:
        """Whether the environment or its process failed, or the policy in it."""
        return self.ended.startswith(CRASHED)


class Play:
    """An episode under way. What goes wrong in it ends it, and is told in `ended`."""

    def __init__(self, policy: Actor, world: Environment, steps: int, seed: int) -> None:
        self.policy, self.world, self.steps, self.seed = policy, world, steps, seed
        self.frames = self.decisions = 0
        self.score = self.policy_seconds = self.decision_seconds = self.simulator_seconds = 0.0
        self.ended = ""
        """empty until it is over"""
        with self._caught():
            policy.reset(seed=seed)
            self._seen = world.reset(seed)

    @contextlib.contextmanager
    def _caught(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.ended = crash(f"{type(error).__name__}: {error}")

    def advance(self) -> float:
        """Act for one frame, unless it is over -> seconds that the policy took."""
        before = self.policy_seconds
        if not self.ended:
            with self._caught():
                self._frame()
        return self.policy_seconds - before

    def _frame(self) -> None:
        begin = time.perf_counter()
        action = self.policy.act(self._seen, steps=self.steps)
        acted = time.perf_counter()
        self._seen, over = self.world.step(action)
        self.simulator_seconds += time.perf_counter() - acted
        self.policy_seconds += acted - begin
        if self.policy.decided:
            self.decisions += 1
            self.decision_seconds += acted - begin
        self.frames += 1
        score = float(self.world.score())
        if not math.isfinite(score):
            raise ValueError(f"the score is {score}")
        self.score = score
        if self.frames >= self.world.max_frames:
            self.ended = TIME_LIMIT
        elif over:
            self.ended = DONE

    def episode(self, timed_on: str = "") -> Episode:
        """What is kept of it."""
        return Episode(
            self.steps, self.seed, self.score, self.frames, self.decisions, self.policy_seconds,
            self.decision_seconds, self.simulator_seconds, self.ended, timed_on,
        )  # fmt: skip


def crash(reason: str) -> str:
    """How an episode ended that crashed, in one line."""
    return f"{CRASHED}: {' '.join(reason.split())[:LONGEST]}"


def play(policy: Actor, world: Environment, steps: int, seed: int, timed_on: str = "") -> Episode:
    """Play an episode to its end."""
    under_way = Play(policy, world, steps, seed)
    while not under_way.ended:
        under_way.advance()
    return under_way.episode(timed_on)


def rehearse(policy: Actor, world: Environment) -> None:
    """Let a policy decide once, so that what is slow the first time is not counted later.

    Raises whatever the environment or the policy does: UserError where what is seen is not what the policy knows.
    """
    policy.reset()
    policy.act(world.reset(0))
