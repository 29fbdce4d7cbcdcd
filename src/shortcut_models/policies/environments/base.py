"""The interface between an environment and the policies that act in it: that of Gymnasium."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError

SEEDS = 2**31  # environments take the seeds from 0 to SEEDS - 1
Observation = Mapping[str, np.ndarray]
"""One observation by name: images uint8 [height, width, channels], vectors float32 [size]."""
Reset = tuple[Observation, dict[str, Any]]  # What `Environment.reset` returns: observation, info.
Step = tuple[Observation, float, bool, bool, dict[str, Any]]
"""What `Environment.step` returns: observation, reward, terminated, truncated, info."""


@dataclass(frozen=True)
class Box:
    """The bounds of an action, with the names of `gymnasium.spaces.Box`."""

    low: Float[np.ndarray, "n"]
    high: Float[np.ndarray, "n"]


class ScoreError(UserError):
    """An environment does not return what an episode is to be scored by; this ends a rollout, unlike a crash."""


class Environment(abc.ABC):
    """A simulated environment with the methods of `gymnasium.Env`, and the metric that scores an episode in it."""

    observation_names: ClassVar[tuple[str, ...]]
    """all observations that it offers"""
    action_space: Box
    """bounds of an action, float32"""
    metric_name: ClassVar[str]
    """what `metric` returns: return, coverage, success"""
    max_episode_steps: ClassVar[int]
    """actions after which an episode is truncated"""
    render_fps: ClassVar[int]
    """frames per second of simulated time"""
    packages: ClassVar[tuple[str, ...]] = ()
    """packages whose versions change what happens: episodes of different versions are not counted together"""
    sources: Mapping[str, str] = {}
    """hashes of source files that change what happens as well, by module"""
    facts: Mapping[str, str | int] = {}
    """what else determines an episode or its score, beside the name of the environment"""

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """Choose the observations.

        Args:
            observations: names that `reset` and `step` return; () for all, None for none. Images that are not chosen
                are not drawn.

        Raises:
            UserError: the environment does not offer a name, or a package is missing.
        """
        unknown = sorted(set(observations or ()) - set(self.observation_names))
        if unknown:
            known = ", ".join(self.observation_names)
            raise UserError(f"{type(self).__name__} does not offer {unknown[0]!r}: choose from {known}")
        self.observations = () if observations is None else tuple(observations) or self.observation_names

    @abc.abstractmethod
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode that follows from the seed, from 0 to SEEDS - 1; None for a random one."""

    @abc.abstractmethod
    def step(self, action: Float[np.ndarray, "n"]) -> Step:
        """Act for one frame.

        Returns:
            The next observation; the reward of this frame; whether the task ended the episode; whether the time limit
            ended it; additional information.
        """

    def clip_action(self, action: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Return an action within its bounds, or raise UserError if its size is wrong or it is not finite."""
        action, space = np.asarray(action, np.float32), self.action_space
        if action.shape != space.low.shape or not np.isfinite(action).all():
            given = action.tolist()
            raise UserError(f"an action of {type(self).__name__} is {space.low.size} finite numbers, not {given}")
        return np.clip(action, space.low, space.high)

    @abc.abstractmethod
    def metric(self) -> float:
        """Return the score of the episode so far; `metric_name` says what it is."""

    @abc.abstractmethod
    def render(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """Return a picture of the environment for people to look at."""

    def close(self) -> None:
        """Release the simulator."""
        return


class Simulated(Environment):
    """An environment around a simulator: it counts the frames and keeps the score."""

    simulator: Any
    frames: int = 0
    score: float = 0.0

    def _start(self) -> None:
        self.frames, self.score = 0, 0.0

    def _step(self, observation: Observation, reward: Any, terminated: Any, info: dict[str, Any]) -> Step:
        self.frames += 1
        return observation, float(reward), bool(terminated), self.frames >= self.max_episode_steps, info

    def metric(self) -> float:
        return self.score

    def close(self) -> None:
        self.simulator.close()


def seed_or_random(seed: int | None) -> int:
    """Return the seed, or a random one where it is None."""
    return int(np.random.default_rng().integers(SEEDS)) if seed is None else seed
