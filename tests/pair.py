"""Two processes that train together, on the CPU: what each of them does is a function of this module's importers."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from shortcut_models.distributed import Processes, joined
from tiny import _forks

Act = Callable[[Processes, Path], None]


def variables(rank: int, port: int, world: int = 2) -> dict[str, str]:
    """What torchrun tells each process that it starts."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1"} | {name: str(number) for name, number in numbers.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def together(act: Act, folder: Path) -> None:
    """Let two processes that have joined do this with a folder, and wait for them."""
    port = free_port()
    processes = [_forks().Process(target=_work, args=(act, folder, variables(rank, port))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    errors = [path.read_text() for path in sorted(folder.glob("error*.txt"))]
    assert [process.exitcode for process in processes] == [0, 0], "\n".join(errors)


def _work(act: Act, folder: Path, env: dict[str, str]) -> None:
    os.environ |= env
    torch.set_num_threads(1)
    code = 0
    try:
        with joined("cpu") as processes:
            act(processes, folder)
    except BaseException:
        (folder / f"error{env['RANK']}.txt").write_text(traceback.format_exc())
        code = 1
    sys.stdout.flush()
    os._exit(code)  # gloo's threads abort some processes that end in the ordinary way
