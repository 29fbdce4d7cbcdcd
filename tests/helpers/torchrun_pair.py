"""Two processes that train together, on the CPU: what each of them does is a function of this module's importers."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch.distributed import TCPStore

from shortcut_models.system.distributed import Processes, process_group

from .runs import _forks

Act = Callable[[Processes, Path], None]


def variables(rank: int, port: int) -> dict[str, str]:
    """Return the environment variables that torchrun sets for each of two processes that it starts."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    meeting = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return meeting | {name: str(number) for name, number in numbers.items()}


def rendezvous_store() -> TCPStore:
    """Where the processes meet, in the hands of one that outlives them, as torchrun has it."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def together(act: Act, folder: Path) -> None:
    """Let two processes that have joined do this with a folder, and wait for them."""
    store = rendezvous_store()
    ranks = [variables(rank, store.port) for rank in range(2)]
    processes = [_forks().Process(target=_work, args=(act, folder, each)) for each in ranks]
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
        with process_group("cpu") as processes:
            act(processes, folder)
    except BaseException:
        (folder / f"error{env['RANK']}.txt").write_text(traceback.format_exc())
        code = 1
    sys.stdout.flush()
    os._exit(code)  # gloo's threads abort some processes that end in the ordinary way
