"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from shortcut_models.system import machine as memory

SCRIPT = """
import resource, torch
from shortcut_models.system import machine as memory

def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = sum(fetched() for _ in range(50))
memory.keep_freed_memory()
print(before, sum(fetched() for _ in range(50)))
"""
"""in a process of its own, as what another test has left on the heap would get in the way"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the choice")
def test_what_is_freed_is_not_fetched_again() -> None:
    said = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True).stdout
    before, after = map(int, said.split())
    assert after < before / 4


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("there is no such library"))
    memory.keep_freed_memory()
