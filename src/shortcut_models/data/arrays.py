"""A dataset in memory, in a memory-mapped file, or on the device that trains on it."""

import abc
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..base import Batch
from ..base import Dataset as Rows

RESIDENT_SHARE = 0.25  # share of a GPU's free memory that a data set may take to be kept there
AT_ONCE = 1024  # rows that are moved together


class BatchDataset(Dataset[Batch], abc.ABC):
    """A data set that is read a batch at a time; a row alone is a batch of one."""

    @abc.abstractmethod
    def __getitems__(self, indices: list[int]) -> Batch: ...

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])


class ArrayDataset(BatchDataset):
    """data [n, ...] and conditions [n, ...], fetched by rows."""

    def __init__(self, data: Tensor, cond: Mapping[str, Tensor]) -> None:
        self.data, self.cond = data, dict(cond)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def nbytes(self) -> int:
        return self.data.numel() * self.data.element_size()

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = torch.as_tensor(indices, device=self.data.device)
        return Batch(self.data[rows], {name: value[rows] for name, value in self.cond.items()})


def resident(dataset: Rows, device: torch.device) -> Rows:
    """Return the dataset on the device, if that is a GPU with room: then no batch waits for a disk, a CPU or a bus."""
    if device.type != "cuda" or not hasattr(dataset, "nbytes"):
        return dataset
    free, _ = torch.cuda.mem_get_info(device)
    return dataset if dataset.nbytes > RESIDENT_SHARE * free else moved(dataset, device)


def moved(dataset: Rows, device: torch.device) -> ArrayDataset:
    """Return all rows of a dataset, as tensors on a device."""
    starts = range(0, len(dataset), AT_ONCE)
    parts = [dataset.__getitems__(list(range(s, min(s + AT_ONCE, len(dataset))))).to(device) for s in starts]
    cond = {name: torch.cat([part.cond[name] for part in parts]) for name in parts[0].cond}
    return ArrayDataset(torch.cat([part.data for part in parts]), cond)
