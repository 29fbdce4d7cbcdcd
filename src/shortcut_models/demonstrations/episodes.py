"""Demonstrations: what somebody saw and did, one episode after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, Shaped


@dataclass(frozen=True)
class Demonstrations:
    """The frames of all episodes, one episode after another. Arrays may be memory-mapped."""

    observations: Mapping[str, Shaped[np.ndarray, "n ..."]]
    """by name: images uint8 [frames, height, width, channels], vectors float32 [frames, size]"""
    actions: Float[np.ndarray, "n m"]
    """what was done, or should have been done, on seeing each frame; float32"""
    ends: Int64[np.ndarray, "k"]
    """one past the last frame of each episode, ascending"""
    returns: Float[np.ndarray, "k"] | None = None
    """what each episode scored, where it is known"""
    seeds: Int64[np.ndarray, "k"] | None = None
    """what each episode's world was made from, where it is known: nothing is judged on these"""
    environment: str = ""
    """name of the environment they come from, where it is known"""

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.ends)
