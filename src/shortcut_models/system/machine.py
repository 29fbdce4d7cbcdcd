"""The machine: its devices, the name of its processor, and how its memory is reused."""

import contextlib
import ctypes
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep the memory that tensors free, if the C library is glibc: a tenth to a fifth of a step on a CPU."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_MMAP_THRESHOLD, _NEVER)


def torch_device(name: str) -> torch.device:
    """Return the device of this name; auto is a CUDA GPU if there is one. Raises UserError if it is not available."""
    try:
        # No other kind of GPU has been tried.
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        float(torch.zeros((), device=device))
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        raise UserError(f"device {name!r} is not available here: use cpu, or leave it out") from None
    return device


def machine(device: torch.device) -> dict[str, Any]:
    """Describe the machine that a figure was measured on."""
    facts = {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return facts | {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def processor(device: torch.device) -> str:
    """Return the name of the GPU, or that of the processor if the system has it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    found = None
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"
