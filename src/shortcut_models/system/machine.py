"""The memory that tensors on a CPU are freed to."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep what its tensors free; only glibc has this choice, elsewhere nothing happens.

    By default the C library gives large pieces back to the system, which clears them page by page when the next
    step asks for them again: a tenth to a fifth of a training step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_MMAP_THRESHOLD, _NEVER)
