"""Images in files of their own, in a folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .examples import Examples


@dataclass(frozen=True)
class _Files:
    """Image files below a folder."""

    root: Path
    names: Sequence[str]

    def open(self, index: int) -> Image.Image:
        return Image.open(io.BytesIO((self.root / self.names[index]).read_bytes()))


def list_folder(root: Path, files: tuple[Path, ...]) -> Examples:
    """List image files; the sorted names of the sub-folders are the classes."""
    names = [path.relative_to(root).as_posix() for path in files]
    tops = [name.split("/", 1)[0] for name in names if "/" in name]
    classes = tuple(sorted(set(tops)))
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[top] for top in tops], np.int64) if tops else None
    return Examples(root, names, _Files(root, names).open, labels, len(classes), classes)
