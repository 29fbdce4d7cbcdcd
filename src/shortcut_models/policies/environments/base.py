"""What an environment is to whatever acts in it."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError

SEEDS = 2**31
"""every environment takes the seeds from 0 to below this"""
Observation = Mapping[str, np.ndarray]
"""What is seen at one moment, by name: images uint8 [height, width, channels], vectors float32 [size]."""


class Environment(abc.ABC):
    """One simulated world, and how an episode in it is judged."""

    sees: ClassVar[tuple[str, ...]]
    """names of all that can be observed"""
    measure: ClassVar[str]
    """what `score` gives: return, coverage, success"""
    max_frames: ClassVar[int]
    """actions after which an episode is over at the latest"""
    frames_per_second: ClassVar[int]
    """of its video, at the speed of the world"""
    packages: ClassVar[tuple[str, ...]] = ()
    """whose versions decide what happens in it: episodes of other versions are not counted together"""
    low: Float[np.ndarray, "n"]
    high: Float[np.ndarray, "n"]
    """bounds of an action, float32"""

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        """observations: the names that `reset` and `step` are to give, () for all, None for none. Images that nobody
        asks for are not drawn.

        Raises UserError for a name it has not; a class of its own raises it too where a package is missing.
        """
        unknown = sorted(set(observations or ()) - set(self.sees))
        if unknown:
            raise UserError(f"{type(self).__name__} does not show {unknown[0]!r}: choose from {', '.join(self.sees)}")
        self.observations: tuple[str, ...] = () if observations is None else tuple(observations) or self.sees

    @abc.abstractmethod
    def reset(self, seed: int) -> Observation:
        """Begin an episode that follows from the seed, in [0, SEEDS)."""

    @abc.abstractmethod
    def step(self, action: Float[np.ndarray, "n"]) -> tuple[Observation, bool]:
        """Act for one frame -> what is seen then, and whether the episode is over, for whatever reason."""

    def bounded(self, action: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """An action within its bounds. Raises UserError where it has another size, or is not finite."""
        action = np.asarray(action, np.float32)
        if action.shape != self.low.shape or not np.isfinite(action).all():
            given = action.tolist()
            raise UserError(f"an action of {type(self).__name__} is {self.low.size} finite numbers, not {given}")
        return np.clip(action, self.low, self.high)

    @abc.abstractmethod
    def score(self) -> float:
        """What the episode has scored so far, in units of `measure`."""

    @abc.abstractmethod
    def picture(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """The world now, for people to look at."""

    def close(self) -> None:
        """Let go of what it holds."""
        return
