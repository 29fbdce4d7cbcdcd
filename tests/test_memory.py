"""Freed memory stays with the process."""

from __future__ import annotations

import platform

import pytest
import torch

from shortcut_models import memory

FLOATS = 2**24


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the choice")
def test_what_is_freed_is_not_fetched_again() -> None:
    import resource

    memory.keep_freed_memory()
    torch.ones(FLOATS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(FLOATS)
    pages = FLOATS * 4 / resource.getpagesize()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages / 100


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("there is no such library"))
    memory.keep_freed_memory()
