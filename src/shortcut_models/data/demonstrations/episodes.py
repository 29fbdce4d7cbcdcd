"""Demonstrations: observations and actions, one episode after another."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped

from ...errors import UserError

_TAKEN = frozenset(dir(torch.nn.ModuleDict()))  # a network has a part for each observation, by its name


@dataclass(frozen=True)
class Demonstrations:
    """The frames of all episodes, one episode after another. Arrays may be memory-mapped.

    Raises:
        UserError: lengths do not match, `ends` does not ascend, a number is not finite, or an observation has a name
            that a part of a network cannot have.
    """

    observations: Mapping[str, Shaped[np.ndarray, "n ..."]]
    """by name: images uint8 [frames, height, width, channels], vectors float32 [frames, size]"""
    actions: Float[np.ndarray, "n m"]  # the actions that were, or should have been, executed in each frame; float32
    ends: Int64[np.ndarray, "k"]  # one past the last frame of each episode, ascending
    returns: Float[np.ndarray, "k"] | None = None  # the score of each episode, where it is known
    seeds: Int64[np.ndarray, "k"] | None = None
    """the seed of each episode, where it is known; evaluations skip these seeds"""
    environment: str = ""  # name of the environment, where it is known
    held_out: Int64[np.ndarray, "rest"] | None = None  # numbers of the held-out episodes, where the data has such
    fps: float | None = None  # frames per second, where they are known
    left_out: tuple[str, ...] = ()  # what the files hold besides, such as "observations depth"

    def __post_init__(self) -> None:
        if self.actions.ndim != 2 or self.ends.ndim != 1:
            raise UserError(
                f"actions must be [frames, size] and ends [episodes], not {list(self.actions.shape)} and "
                f"{list(self.ends.shape)}: write them again"
            )
        if not len(self.ends):
            raise UserError("there are no episodes")
        lengths = np.diff(self.ends, prepend=0)
        if not (lengths < 0).any() and (lengths == 0).any():
            raise UserError(f"episode {int((lengths == 0).argmax())} has no frames: remove it")
        if (lengths < 0).any() or self.ends[-1] != len(self.actions):
            shown = ", ".join([*map(str, self.ends[:8]), *(["..."] if len(self.ends) > 8 else [])])
            raise UserError(
                f"the ends of the episodes must ascend from above 0 to {len(self.actions)}, the number of actions, not "
                f"be {shown}: write them again"
            )
        for what, values in (("returns", self.returns), ("seeds", self.seeds)):
            if values is not None and values.shape != self.ends.shape:
                raise UserError(
                    f"there are {len(self)} episodes, and {what} {list(values.shape)}: write one for each episode"
                )
        for name, array in self.observations.items():
            if not name or set(name) & set(".[]"):  # the network names a part after it, and brackets mark a slice
                raise UserError(
                    f"an observation is called {name!r}: use a name without dots and brackets, or choose "
                    f"--task.observations without it"
                )
            if name in _TAKEN:
                raise UserError(
                    f"an observation is called {name!r}, as a method of networks: rename it, or choose "
                    f"--task.observations without it"
                )
            check_frames(name, array, len(self.actions))
            if array.ndim == 4 and array.dtype != np.uint8:
                raise UserError(f"images of {name} are {array.dtype}, not uint8: convert them")
        for name, array in {"action": self.actions, **self.observations}.items():
            if not array[0].size:
                raise UserError(f"the frames of {name} hold no numbers: record some, or leave it out")
            if array.dtype != np.uint8:
                self._check_finite(name, array)

    def _check_finite(self, name: str, array: np.ndarray) -> None:
        bad = ~np.isfinite(array).reshape(len(array), -1).all(1)
        if bad.any():
            frame = int(bad.argmax())
            episode = int(np.searchsorted(self.ends, frame, "right"))
            seed = "" if self.seeds is None else f" (seed {self.seeds[episode]})"
            raise UserError(
                f"{name} of episode {episode}{seed} is NaN or infinite at frame {frame - self.begins[episode]}: "
                f"correct or remove that episode"
            )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def begins(self) -> Int64[np.ndarray, "k"]:
        """The first frame of each episode."""
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    def split(self, fraction: float, least: int = 1) -> tuple[list[int], list[int]]:
        """Return the numbers of the training episodes and of the held-out ones: a fraction, at least one and not all.

        Episodes of fewer than `least` frames are in neither. The choice follows from a hash of each seed, or of each
        number, so that it changes little when episodes are added. Where the data has held-out episodes, it is those.
        """
        long = np.flatnonzero(self.ends - self.begins >= least)
        if self.held_out is not None:
            chosen = np.intersect1d(long, self.held_out)
        else:
            place = lambda i: hashlib.blake2b(str(i if self.seeds is None else self.seeds[i]).encode()).digest()
            order = np.array(sorted(long.tolist(), key=place), np.int64)
            chosen = order[: min(max(1, round(len(long) * fraction)), max(len(long) - 1, 0))]
        return np.setdiff1d(long, chosen).tolist(), np.sort(chosen).tolist()


def check_frames(name: str, array: Any, count: int) -> None:
    """Raise UserError if an array, in memory or in a file, does not have one frame for each of `count` actions."""
    frames = array.shape[0] if array.ndim else "no"
    if frames != count:
        raise UserError(f"there are {count} actions and {frames} frames of {name}: write one of each per frame")
