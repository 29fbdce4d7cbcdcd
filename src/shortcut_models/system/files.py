"""Write files whole or not at all, lock them, and find the folder of files that may be deleted at any time."""

import contextlib
import errno
import functools
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

from ..errors import UserError

NO_FILE = (errno.ENOENT, errno.ELOOP)  # errors of a link that leads nowhere
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EINVAL}
"""errors of a file system without locks"""


def absolute_path(text: str | Path) -> str:
    """Return the absolute path that a user's words mean. Raise UserError for the address of a page or a store."""
    if re.match(r"[a-z][a-z0-9+.-]+://", str(text), re.IGNORECASE):
        raise UserError(f"{text} is not a path but an address: download it, and pass the file or folder")
    return os.path.abspath(os.path.expanduser(text))


def cache_folder(kind: str = "images") -> Path:
    """Return the folder of cached files of a kind, by default $XDG_CACHE_HOME/shortcut-models/KIND on Linux."""
    try:
        base = platformdirs.user_cache_path("shortcut-models", appauthor=False)
    except (OSError, RuntimeError, KeyError):
        base = Path()
    return (base if base.is_absolute() else Path(_temporary_cache().name)) / kind


@functools.cache
def _temporary_cache() -> tempfile.TemporaryDirectory[str]:
    warnings.warn("this user does not have a home: files are cached until this process ends", stacklevel=3)
    return tempfile.TemporaryDirectory(prefix="shortcut-models-", ignore_cleanup_errors=True)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock on a file until the end of the block or of this process, even if processes that it started live on.

    On a file system without locks, warn and continue. Raises BlockingIOError, unless it may wait, if another process
    holds the lock.
    """
    from filelock import FileLock, Timeout

    # A soft lock, a file that stays after a kill, would be worse than none.
    lock = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"{path.parent} is on a file system without locks: do not run two commands there at the same time",
            stacklevel=4,
        )
    try:
        yield
    finally:
        lock.release()


def file_stamp(path: Path | int) -> tuple[int, ...]:
    """Return what tells one state of a file from another, also where a copy kept its time; () for a dead link."""
    try:
        stat = os.stat(path)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name at the end of the block, complete, and is removed after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that gets its name at the end of the block, complete, and is removed after an error.

    A folder of that name that is there is replaced with all that is in it.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old.tmp"))
    try:
        temporary.mkdir()
        yield temporary
        for folder in [*filter(Path.is_dir, temporary.rglob("*")), temporary]:
            sync_directory(folder)
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def write_atomically(path: Path, content: bytes) -> None:
    with writing(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def sync_directory(path: Path) -> None:
    """Flush the names of a directory's files to the disk, where the system lets a directory be opened."""
    with contextlib.suppress(PermissionError):  # Windows
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
