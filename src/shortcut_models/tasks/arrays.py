"""A dataset that lies in memory, or in a memory-mapped file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..base import Batch


class ArrayDataset(Dataset[Batch]):
    """data [n, ...] and conditions [n, ...], fetched by rows."""

    def __init__(self, data: Tensor, cond: Mapping[str, Tensor]) -> None:
        self.data, self.cond = data, dict(cond)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = torch.as_tensor(indices)
        return Batch(self.data[rows], {name: value[rows] for name, value in self.cond.items()})
