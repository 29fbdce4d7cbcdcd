"""Folders of image files."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from .class_names import folder_classes
from .examples import Examples, ImageFiles, count_classes
from .labels import numbered, read_label_files
from .notes import Notes


def _open_file(root: Path, names: Sequence[str], index: int) -> Image.Image:
    return Image.open(io.BytesIO((root / names[index]).read_bytes()))


def read_folder(files: ImageFiles) -> Examples:
    """Return image files, with labels from a file beside them, or else the sorted names of sub-folders as classes."""
    names = [path.relative_to(files.root).as_posix() for path in files.files]
    opened = functools.partial(_open_file, files.root, names)
    values, remarks, source = read_label_files(files.label_files, files.files)
    if values is not None:
        labels, classes, trouble = numbered(files.label_files[0], values)
        notes = Notes(remarks=(*remarks, *[trouble] * bool(trouble)), labels=source if labels is not None else "")
        return Examples(files.root, names, opened, labels, len(classes) or count_classes(labels), classes, notes=notes)
    labels, classes, trouble = folder_classes(names, files.label_files)
    remarks += [trouble] * bool(trouble)
    return Examples(files.root, names, opened, labels, len(classes), classes, notes=Notes(remarks=tuple(remarks)))
