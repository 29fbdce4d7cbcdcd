"""Files that are written whole or not at all, and the folder of files that may be deleted at any time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


def cache_folder(kind: str = "images") -> Path:
    """$XDG_CACHE_HOME/shortcut-models/KIND, by default under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "shortcut-models" / kind


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name, whole, at the end, and is removed if anything goes wrong before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment either the old or the new content is there, whole.

    Raises:
        OSError: the disk refused; it names the file.
    """
    try:
        with writing(path) as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def sync_directory(path: Path) -> None:
    """Flush the names of a directory's files to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
