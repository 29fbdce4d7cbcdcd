"""What image data holds: in words, and as a picture of examples."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from ..data.images import ImageSet, InPlaceSet
from ..data.images.notes import Notes
from ..text import MAX_ENTRIES

if TYPE_CHECKING:
    from .images import PictureTask

_EXAMPLES, _CLASSES = 8, 40  # images of a class, and classes, in a picture of the data


def describe_images(task: Any, train: int, test: int, notes: Sequence[str]) -> str:
    """Return a line on images: their number, size and classes; notes: more to say of them."""
    size = f"{task.image_size}x{task.image_size}"
    colour = ["grey" if task.channels == 1 else "colour"] if hasattr(task, "channels") else []
    facts = [f"{train:,} to train on", f"{test:,} held out", size, *colour, _describe_classes(task)]
    return f"{task.data}: " + "; ".join([", ".join(facts), *notes])


def _describe_classes(task: Any) -> str:
    """Return the number of a task's classes, and their numbers and names; only the first of many."""
    if not task.classes:
        return "no labels"
    numbers = range(task.classes) if task.class_names else range(0)
    names = [_name(task, number) for number in numbers[:MAX_ENTRIES]]
    more = ["...", _name(task, numbers[-1])] if len(numbers) > MAX_ENTRIES else []
    shown = f" ({', '.join(names + more)})" if names else ""
    return f"{task.classes:,} class{'es' * (task.classes > 1)}{shown}"


def _name(task: Any, number: int) -> str:
    """Return a class's number and, where it has one, its name."""
    return f"{number} {task.class_names[number]}" if task.class_names else str(number)


def notes_on_labels(notes: Notes, classes: int, labels: Int64[np.ndarray, "n"] | None) -> Notes:
    """Return the notes with where the labels are from, if they are used, and which classes have no image."""
    if not classes or labels is None:
        return replace(notes, labels="" if labels is None else "labels are not used")
    used = replace(notes, labels=notes.labels and f"labels from {notes.labels}")
    empty = np.setdiff1d(np.arange(classes), labels).tolist()
    if not empty:
        return used
    which = ", ".join(map(str, empty[:MAX_ENTRIES])) + ", ..." * (len(empty) > MAX_ENTRIES)
    has = "class {} has" if len(empty) == 1 else "classes {} have"
    return used + Notes(remarks=(has.format(which) + " no image to train on",))


def draw_examples(task: "PictureTask", found: ImageSet | InPlaceSet) -> Image.Image:
    """Draw examples of each class, with its number and name, or of all images where there are no labels."""
    from ..drawing.sheets import stack

    order = np.random.default_rng(0).permutation(len(found))
    rows = {"examples": order[: _EXAMPLES**2]}
    if task.classes and found.labels is not None:
        numbers = np.unique(found.labels)[:_CLASSES].tolist()
        rows = {_name(task, n): order[found.labels[order] == n][:_EXAMPLES] for n in numbers}
    pixels = [found.read(np.sort(some))[0].transpose(0, 2, 3, 1) for some in rows.values()]
    return stack(list(rows), [task.draw(some, _EXAMPLES) for some in pixels])
