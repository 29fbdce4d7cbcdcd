"""What all tests share: shapes enforced inside the package, and the same randomness every time."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

# Before the package is imported: from here on every annotation in it, shapes above all, is checked at every call.
jaxtyping.install_import_hook("shortcut_models", "beartype.beartype")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_randomness_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture
def annotations_unchecked() -> Iterator[None]:
    """As outside the tests: for those that pass wrong types on purpose, to see what the package says itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No more than half a gigabyte on top of what there is."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**29, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are cached in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
