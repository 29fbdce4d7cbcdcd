"""The data of a task: batches of rows, the same each time, and held-out rows that are not trained on."""

from typing import Any

import torch
from torch import Tensor

from ..base import Batch, Dataset, Task
from ..randomness import seed_all
from .findings import calling, describe, doubt, fail

ROWS = 256
"""examples that the task is tried with; fewer where they are large"""
MOST_ROWS, MOST_BYTES = 4096, 2**27
"""how much of each split is compared with the other"""


def rows_of(dataset: Dataset, indices: list[int], split: str) -> Batch:
    """Return rows of a data set. Raise UserError where they are not a batch of tensors."""
    what = f"dataset({split!r}).__getitems__({indices if len(indices) < 4 else f'{len(indices)} rows'})"
    with calling(what, "return a shortcut_models.Batch of these rows"):
        found: Any = dataset.__getitems__(indices)
    if not isinstance(found, Batch):
        fail(what, f"returns {describe(found)}", "return shortcut_models.Batch(data, cond)")
    for name, value in {"data": found.data, **found.cond}.items():
        if not isinstance(value, Tensor):
            fail(what, f"has {name} as {describe(value)}", "return tensors: torch.from_numpy, torch.as_tensor")
        if not value.ndim or len(value) != len(indices):
            fail(what, f"has {name} as {describe(value)}", f"return {len(indices)} rows, the batch axis first")
        if value.requires_grad:
            fail(what, f"has {name} with a gradient", "detach it")
    return found


def check_data(task: Task) -> list[Batch]:
    """Check that both splits give batches of rows, the same for the same indices, and return some rows of each."""
    batches = []
    for split in ("train", "test"):
        with calling(f"dataset({split!r})", 'return the examples of the split "train" or "test"'):
            data = task.dataset(split)
        for name in ("__len__", "__getitems__"):
            if not hasattr(data, name):
                fail(f"dataset({split!r})", f"has no {name}",
                     "return an object with both, such as data.arrays.ArrayDataset(data, cond)")  # fmt: skip
        if not len(data):
            fail(f"dataset({split!r})", "is empty", "hold out at least one example, and train on at least one")
        size = max(rows_of(data, [0], split).data.nbytes, 1)
        chosen = torch.arange(max(16, min(ROWS, MOST_BYTES // size))).remainder(len(data)).tolist()
        batch = rows_of(data, chosen, split)
        batches.append(batch)
        _check_access(data, split, batch, chosen)
    return batches


def _check_access(data: Dataset, split: str, batch: Batch, chosen: list[int]) -> None:
    """Check that a row is the same alone, in another order, and after another seed."""
    seed_all(3)
    order = [chosen[-1], chosen[0]]
    again = rows_of(data, order, split)
    pairs = {"data": (again.data, batch.data), **{name: (again.cond[name], batch.cond[name]) for name in batch.cond}}
    for name, (now, then) in pairs.items():
        if not torch.equal(now, torch.stack([then[-1], then[0]])):
            fail(f"dataset({split!r})", f"gives {name} of row {order[0]} or {order[1]} another value the second time",
                 "let a row depend on its index alone; what is random belongs into augment")  # fmt: skip


def check_splits(task: Task) -> None:
    """Warn where held-out examples are among those that are trained on, as far as the first few thousands show."""
    found = []
    for split in ("train", "test"):
        data = task.dataset(split)
        size = max(rows_of(data, [0], split).data.nbytes, 1)
        count = min(len(data), MOST_ROWS, max(MOST_BYTES // size, 1))
        rows = [rows_of(data, list(range(i, min(i + 256, count))), split).data for i in range(0, count, 256)]
        found.append([row.contiguous().view(torch.uint8).numpy().tobytes() for row in torch.cat(rows).flatten(1)])
    train, test = found
    seen = set(train)
    both = sum(row in seen for row in test)
    if both:
        doubt(
            f"{both} of the first {len(test)} held-out examples are among the first {len(train)} to train on: hold out "
            f"others, or what is measured is memory"
        )
