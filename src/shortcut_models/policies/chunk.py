"""A chunk of actions, which says for which frame each of them is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from ..errors import UserError

Frames = int | Int64[np.ndarray, "n"]
"""A number of frames: one for a single environment, or one for each of several."""


@dataclass(frozen=True)
class Chunk:
    """What `Policy.predict` returns: a decision of the policy.

    `actions[k]` is for frame `decided_at + k`, `actions[0]` for the frame whose observation was the last one seen.
    Frames count the observations of an episode from 0, as `Policy.frame` does. So `chunk.actions[chunk.age(frame):]`
    are the actions of a single environment that are not past at `frame`.
    """

    actions: Float[np.ndarray, "... chunk action"]
    """float32 [chunk, action], or [environments, chunk, action]"""
    decided_at: Frames
    """the frame of the last observation that was seen; int64 [environments] for several environments"""

    def age(self, frame: Frames) -> Frames:
        """Return the frames from the decision to `frame`: 0 in the frame of the decision itself."""
        return frame - self.decided_at

    def action(self, frame: Frames) -> Float[np.ndarray, "... action"]:
        """Return the action for a frame.

        Args:
            frame: as `Policy.frame` returns it.

        Returns:
            float32 [action], or [environments, action].

        Raises:
            UserError: the frame is before the decision, or after the last action.
        """
        ages, length = np.asarray(self.age(frame)), self.actions.shape[-2]
        if (ages < 0).any():
            raise UserError(
                f"the chunk was decided {-int(ages.min())} frames later than the frame: use one of the same episode"
            )
        if (ages >= length).any():
            raise UserError(f"the chunk is {int(ages.max())} frames old, and has {length} actions: predict another one")
        # One index each, of the frame before the last axis.
        return np.take_along_axis(self.actions, ages[..., None, None], axis=-2)[..., 0, :]


@dataclass(frozen=True)
class Planned:
    """The actions of one environment from a frame on."""

    begin: int
    actions: Float[np.ndarray, "k action"]


def average(plans: Sequence[Planned], frame: int, decay: float) -> Float[np.ndarray, "n"]:
    """Return the mean of all actions that plans have for a frame, weighted by exp(-decay i), i = 0 for the oldest plan.

    This is temporal ensembling (Zhao et al. 2023, arXiv 2304.13705, algorithm 2). plans: oldest first, at least one
    with an action for the frame.
    """
    wanted: list[Any] = [plan.actions[frame - plan.begin] for plan in plans if frame - plan.begin < len(plan.actions)]
    exponents = -decay * np.arange(len(wanted))
    weights = np.exp(exponents - exponents.max())  # the largest is 1, so that none overflows
    return (weights @ np.stack(wanted).astype(np.float64) / weights.sum()).astype(np.float32)
