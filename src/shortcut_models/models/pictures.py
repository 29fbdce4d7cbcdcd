"""Samples as pictures, with the names of their classes."""

import re

import numpy as np
from PIL import Image

from ..base import Task
from ..errors import UserError

LONGEST = 16  # letters of a name in a picture


def draw_named(task: Task, samples: np.ndarray, labels: np.ndarray, columns: int) -> Image.Image:
    """Draw samples in rows, below the names of their classes where the task has names; a label of -1 has none."""
    from ..drawing.sheets import stack

    if not task.class_names or (labels < 0).all() or not are_pictures(task, samples[:1]):
        return task.draw(samples, columns)
    names = [_short(task.class_names[label]) if label >= 0 else "" for label in labels]
    return stack(names, [task.draw(each[None], 1) for each in samples], min(columns, len(samples)))


def are_pictures(task: Task, samples: np.ndarray) -> bool:
    """Return whether each sample is a picture of its own."""
    try:
        task.to_pil(samples)
    except UserError:
        return False
    return True


def file_name(task: Task, row: int, num: int, label: int) -> str:
    """Return the name of a sample's picture: its number among `num`, and its class, if any, by name or number."""
    number = str(row).zfill(max(5, len(str(num - 1))))
    if label < 0:
        return f"{number}.png"
    name = re.sub(r"[^\w.-]+", "-", task.class_names[label])[:50] if task.class_names else label
    return f"{number}_{name}.png"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
