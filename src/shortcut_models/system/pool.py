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
    """Do a job for each item in other processes; close the generator to end them.

    Args:
        prepare: called in each process before its first job, picklable; returns the function that does the jobs.
        items: arguments of the jobs, picklable and hashable.
        count: most processes at a time, >= 1.
        threads: torch's threads in each process.
        stop: called several times a second; once it returns True, no more jobs follow.
        preload: a module that is imported once, by the server that forks the processes.

    Yields:
        Each item with its result, in the order in which jobs end, or with the exception that it or `prepare` raised:
        ProcessDied where its process ended.

    Raises:
        UserError: a process ended before its first job.
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
                    error = ProcessDied(_describe_end(getattr(error, "exitcode", 0)))
                    if getattr(future.exception(), "pid", None) not in pids:
                        raise UserError(f"{error} before it could start: try fewer --workers")
                yield waiting.pop(future), error or future.result()
    finally:
        pool.stop()
        pool.join()


def _describe_end(code: int) -> str:
    if code < 0:
        return f"{signal.Signals(-code).name} ended the process"
    return f"the process ended with code {code % 256}"


def _begin(prepare: Callable[[], Any], threads: int, ready: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent ends this process
        signal.signal(number, signal.SIG_IGN)
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
