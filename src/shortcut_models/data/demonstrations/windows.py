"""Training examples of policies: the last observations at a frame, and the actions from it on."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from ...base import Batch
from .episodes import Demonstrations


def as_conditions(observations: Mapping[str, Shaped[np.ndarray, "b history ..."]]) -> dict[str, Tensor]:
    """Return the raw conditions of the observations of the last frames, oldest first, by name.

    Images [b, history, H, W, C] become [b, history, C, H, W], uint8; vectors [b, history, size] become
    [b, history * size], float32.
    """
    return {
        name: torch.from_numpy(array).movedim(-1, 2)
        if array.ndim == 5
        else torch.from_numpy(array.reshape(len(array), -1))
        for name, array in observations.items()
    }


class Windows(Dataset[Batch]):
    """Windows of `history` observations and `chunk` actions, which never cross an episode's end.

    The current frame of a window is the last of its history, and its action is the first of the chunk. A history that
    would start before the episode repeats the first frame, and a chunk that would end after it repeats the last action.
    Current frames range from the first of an episode to `chunk - execute` before its last, as in Diffusion Policy's
    code (Chi et al. 2023, arXiv 2303.04137). So at most `execute - 1` actions are repeated, and an episode of
    `chunk - execute` frames or fewer has no window.

    Data is the chunk, float32 [b, chunk, action]; conditions are raw, see `as_conditions`.
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        history: int,
        chunk: int,
        execute: int,
        episodes: Sequence[int] | None = None,
    ) -> None:
        """Make the windows of these episodes, by number, or of all where `episodes` is None."""
        self.demonstrations = demonstrations
        self.past, self.future = np.arange(1 - history, 1), np.arange(chunk)
        chosen = np.arange(len(demonstrations)) if episodes is None else np.asarray(episodes, np.int64)
        counts = (demonstrations.ends - demonstrations.begins)[chosen] + execute - chunk
        windows = np.maximum(counts, 0)
        bounds = demonstrations.begins, demonstrations.ends - 1
        self.first, self.last = (np.repeat(bound[chosen], windows) for bound in bounds)
        begins = np.cumsum(windows) - windows
        self.current = self.first + np.arange(len(self.first)) - np.repeat(begins, windows)

    def __len__(self) -> int:
        return len(self.current)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    @property
    def nbytes(self) -> int:
        """Bytes of all windows, with every frame of each."""
        observed = sum(array[0].nbytes for array in self.demonstrations.observations.values())
        return len(self) * (len(self.past) * observed + len(self.future) * self.demonstrations.actions[0].nbytes)

    def shuffled(self, generator: np.random.Generator) -> "Windows":
        """Put the windows into a random order, and return this object."""
        order = generator.permutation(len(self))
        self.first, self.last, self.current = self.first[order], self.last[order], self.current[order]
        return self

    def _frames(self, rows: Int64[np.ndarray, "b"], offsets: Int64[np.ndarray, "k"]) -> Int64[np.ndarray, "b k"]:
        """Return the frames at some offsets from the current one, clipped to the episode."""
        frames = self.current[rows, None] + offsets
        return np.clip(frames, self.first[rows, None], self.last[rows, None])

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = np.asarray(indices, np.int64)
        past, future = self._frames(rows, self.past), self._frames(rows, self.future)
        # Plain arrays, also where the source is memory-mapped.
        observations = {name: np.asarray(array[past]) for name, array in self.demonstrations.observations.items()}
        return Batch(torch.from_numpy(np.asarray(self.demonstrations.actions[future])), as_conditions(observations))
