"""A clock for tests of durations, which must not depend on how busy the machine is."""

from __future__ import annotations

import pytest

from helpers import worlds
from shortcut_models.policies import episode


class Clock:
    """Time that passes in sleep alone; and at each look at it a microsecond, which a simulator takes at least."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def perf_counter(self) -> float:
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have episodes of this process measure, and walkers spend, the time of a `Clock`."""
    fake = Clock()
    monkeypatch.setattr(episode, "time", fake)
    monkeypatch.setattr(worlds, "time", fake)
