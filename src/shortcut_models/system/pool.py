"""Processes that do jobs. One that dies costs only the job that it was doing."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, TypeVar

import pebble
import torch

from ..errors import UserError
from .signals import ignore_stop_signals

Item = TypeVar("Item")
Result = TypeVar("Result")
POLL_SECONDS = 0.2  # the longest time after which a request to stop is noticed
_process: dict[str, Any] = {}  # what a process keeps from one job to the next


class ProcessDied(Exception):
    """A process has ended within a job: the message says how."""


class _Process(ForkServerProcess):
    """A process that pebble ends at once, and whose end it always reports."""

    terminate = ForkServerProcess.kill  # SIGTERM may come from elsewhere, and is ignored

    @property
    def exitcode(self) -> int | None:
        code = super().exitcode
        return 256 if code == 0 else code  # pebble would wait for the job of a process that ends with 0


class _Context(ForkServerContext):
    Process = _Process


def run_jobs(
    prepare: Callable[[], Callable[[Item], Result]], items: Sequence[Item], count: int, *,
    threads: int, stop: Callable[[], bool], preload: str,
) -> Generator[tuple[Item, Result | BaseException], None, None]:  # fmt: skip
    """Yield each item with its result, as jobs end, or with the error of its job; close the generator to end all.

    prepare is called once in each process, and returns the function that does the jobs. An item whose process ended
    comes with ProcessDied; UserError is raised if a process ended before its first job. preload is a module that the
    server of the processes imports once. `prepare` and items are picklable, and items hashable.
    """
    context = _Context()
    context.set_forkserver_preload(["__main__", preload])
    ready, pids = context.SimpleQueue(), set()
    pool = pebble.ProcessPool(
        min(count, len(items)), initializer=_begin, initargs=(prepare, threads, ready), context=context
    )
    try:
        waiting = {pool.schedule(_do, [item]): item for item in items}
        while waiting and not stop():
            wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
            for future in [future for future in waiting if future.done()]:
                error = future.exception()
                while not ready.empty():
                    pids.add(ready.get())
                if isinstance(error, (pebble.ProcessExpired, BrokenProcessPool)):
                    code = getattr(error, "exitcode", 0)
                    killed = f"{signal.Signals(-code).name} ended the process" if code < 0 else ""
                    error = ProcessDied(killed or f"the process ended with code {code % 256}")
                    if getattr(future.exception(), "pid", None) not in pids:
                        raise UserError(f"{error} before it could start: try fewer --workers")
                yield waiting.pop(future), error or future.result()
    finally:
        pool.stop()
        pool.join()


def _begin(prepare: Callable[[], Any], threads: int, ready: Any) -> None:
    ignore_stop_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _process.update(prepare=prepare, ready=ready)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()  # type: ignore[union-attr]
    os._exit(1)


def _do(item: Any) -> Any:
    if "job" not in _process:
        _process["job"] = _process["prepare"]()
        _process["ready"].put(os.getpid())
    try:
        return _process["job"](item)
    except SystemExit as end:  # ends a process with a code, as elsewhere
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
