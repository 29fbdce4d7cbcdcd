"""What a policy learns from: what was seen lately at some frame, and what was done from there on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from ...base import Batch
from .episodes import Demonstrations


def as_conditions(seen: Mapping[str, Shaped[np.ndarray, "b history ..."]]) -> dict[str, Tensor]:
    """Observations of the last frames, oldest first, by name -> raw conditions.

    Images [b, history, H, W, C] become [b, history, C, H, W], uint8; vectors [b, history, size] become
    [b, history * size], float32.
    """
    return {
        name: torch.from_numpy(array).movedim(-1, 2)
        if array.ndim == 5
        else torch.from_numpy(array.reshape(len(array), -1))
        for name, array in seen.items()
    }


class Windows(Dataset[Batch]):
    """Windows of `history` observations and `chunk` actions, which never cross an episode's end.

    Both have the window's current frame in common: it is the last of the history, and its action is the first of the
    chunk. A history that would begin before its episode repeats the first frame, and a chunk that would go on after it
    repeats the last action. Current frames go from the first of an episode to `chunk - execute` before its last, as in
    Diffusion Policy's code (Chi et al. 2023, arXiv 2303.04137), so at most `execute - 1` actions are repeated; an
    episode of `chunk - execute` frames or fewer has no window.

    Data is the chunk, float32 [b, chunk, action]; conditions are raw, see `as_conditions`.
    """

    def __init__(
        self, source: Demonstrations, history: int, chunk: int, execute: int, episodes: Sequence[int] | None = None
    ) -> None:
        """episodes: the numbers of those to take windows from; none: all."""
        self.source = source
        self.past, self.future = np.arange(1 - history, 1), np.arange(chunk)
        chosen = np.arange(len(source)) if episodes is None else np.asarray(episodes, np.int64)
        counts = (source.ends - source.begins)[chosen] + execute - chunk
        windows = np.maximum(counts, 0)
        self.first, self.last = (np.repeat(bound[chosen], windows) for bound in (source.begins, source.ends - 1))
        begins = np.cumsum(windows) - windows
        self.current = self.first + np.arange(len(self.first)) - np.repeat(begins, windows)

    def __len__(self) -> int:
        return len(self.current)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    @property
    def nbytes(self) -> int:
        """Bytes of all windows, each with frames of its own."""
        seen = sum(array[0].nbytes for array in self.source.observations.values())
        return len(self) * (len(self.past) * seen + len(self.future) * self.source.actions[0].nbytes)

    def shuffled(self, generator: np.random.Generator) -> Windows:
        """The same windows in another order. Changes this object, and returns it."""
        order = generator.permutation(len(self))
        self.first, self.last, self.current = self.first[order], self.last[order], self.current[order]
        return self

    def _frames(self, rows: Int64[np.ndarray, "b"], offsets: Int64[np.ndarray, "k"]) -> Int64[np.ndarray, "b k"]:
        """The frames at some offsets from the current one, kept within the episode."""
        frames = self.current[rows, None] + offsets
        return np.clip(frames, self.first[rows, None], self.last[rows, None])

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = np.asarray(indices, np.int64)
        past, future = self._frames(rows, self.past), self._frames(rows, self.future)
        # A plain array of what was taken out of one that is mapped from a file.
        seen = {name: np.asarray(array[past]) for name, array in self.source.observations.items()}
        return Batch(torch.from_numpy(np.asarray(self.source.actions[future])), as_conditions(seen))
