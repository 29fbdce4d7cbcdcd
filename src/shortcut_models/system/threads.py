"""The threads of torch on a CPU: how many there are, and how soon one that waits goes to sleep.

OpenMP reads its settings when torch is imported, so this module imports neither torch nor anything that does.
"""

import contextlib
import math
import os
import sys
from pathlib import Path

COUNT = "OMP_NUM_THREADS"
WAITING = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}
"""GNU's and LLVM's names of how long a thread that waits keeps its core busy: turns of a loop, and milliseconds"""
CHOSEN_BY = {**dict.fromkeys(WAITING, ("OMP_WAIT_POLICY", "KMP_LIBRARY", *WAITING)), COUNT: (COUNT, "OMP_THREAD_LIMIT")}
"""the variables of which each shows that the user has chosen, by what would be set here"""
CGROUP = Path("/sys/fs/cgroup")
_ours: set[str] = set()  # what was set here and not by the user


def prepare() -> None:
    """Set what OpenMP reads, unless torch has been imported, or the user has chosen.

    A thread that waits for another one spins at first. On a busy machine the other one may wait for the core on which
    it spins. And a container may have fewer cores than the machine that it runs on.
    """
    if "torch" in sys.modules:
        return
    wanted = WAITING | ({COUNT: str(available_cores())} if available_cores() < affinity() else {})
    free = {name: value for name, value in wanted.items() if not any(other in os.environ for other in CHOSEN_BY[name])}
    os.environ.update(free)
    _ours.update(free)


def affinity() -> int:
    """Return the number of cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1


def available_cores() -> int:
    """Return the number of cores that keep a thread each busy: those of the process, or the quota of its container."""
    return max(1, math.ceil(min(affinity(), cpu_quota())))


def cpu_quota(root: Path = CGROUP) -> float:
    """Return how many cores' time the container has; infinity where there is no limit."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # versions 2 and 1
        with contextlib.suppress(OSError, ValueError):  # "max", without a limit, is not a number
            quota, period = map(int, " ".join((root / name).read_text() for name in files).split())
            if quota > 0 and period > 0:
                return quota / period
    return math.inf


def threads_of_one(count: int) -> str:
    """Return OMP_NUM_THREADS for each of `count` processes: what the user has set, or their share of the cores."""
    if COUNT in os.environ and COUNT not in _ours:
        return os.environ[COUNT]
    return str(max(available_cores() // count, 1))
