"""Checkpoints of a state that is sharded over processes (torch.distributed.checkpoint, DCP).

Each process writes its own share as a safetensors file into the folder `checkpoints/00001000/state`, in the
background, while training continues; `state.json`, written last, has the SHA-256 of each. Any number of processes can
read them: each takes what it needs.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

from ..errors import UserError
from ..models import checkpoint
from ..models.legacy import renamed_tensor
from ..system.distributed import Processes
from ..system.files import write_atomically
from .state import State

FOLDER, HASHES = "state", "state.json"


class BackgroundSaver:
    """Writes one checkpoint at a time, while training continues."""

    def __init__(self, folder: Path, keep: int, processes: Processes) -> None:
        self.folder, self.keep, self.processes = folder, keep, processes
        # What the writers tell each other must not get in between what training does.
        self.group = dist.new_group(backend="gloo")
        self.thread = futures.ThreadPoolExecutor(1)
        self.pending: Future[Any] | None = None

    def save(self, step: int, ema: Mapping[str, Tensor], state: Mapping[str, Tensor], header: dict[str, Any]) -> None:
        """Begin to write a checkpoint, after the one before. All processes must call it. ema: whole, on the CPU."""
        from torch.distributed.checkpoint import HuggingFaceStorageWriter, async_save

        self.wait()
        temporary = self.processes.run_on_main(lambda: checkpoint.begin(self.folder, step))
        writer = HuggingFaceStorageWriter(str(temporary / FOLDER), save_distributed=True)
        written: Any = async_save(dict(state), storage_writer=writer, process_group=self.group)
        self.pending = written
        if self.processes.main:
            self.pending = self.thread.submit(self._finish, written, temporary, ema, header)

    def _finish(self, written: Future[Any], temporary: Path, ema: Mapping[str, Tensor], header: dict[str, Any]) -> None:
        """Write the model, wait for all shares, and give the checkpoint its name, in the main process."""
        from torch.distributed.checkpoint.api import CheckpointException

        try:
            checkpoint.write(temporary / checkpoint.MODEL, ema, header)
            written.result()
            hashes = {path.name: _flushed_hash(path) for path in sorted((temporary / FOLDER).iterdir())}
            write_atomically(temporary / HASHES, json.dumps(hashes).encode())
            checkpoint.publish(temporary, self.keep)
        except CheckpointException as error:
            causes = [cause for cause, _ in error.failures.values()]
            refused = [cause for cause in causes if isinstance(cause, OSError)]
            raise (refused or causes)[0] from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def wait(self) -> None:
        """Wait until the last checkpoint is there. All processes must call it. OSError: the disk refused."""
        pending, self.pending = self.pending, None
        if pending is not None:
            futures.wait([pending])
            self.processes.run_on_main(pending.result)

    def close(self) -> None:
        """Wait for what this process writes, and for nothing that others say of it."""
        if self.pending is not None:
            futures.wait([self.pending])
        self.thread.shutdown()


def _flushed_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        while piece := file.read(2**24):
            digest.update(piece)
    return digest.hexdigest()


def check(path: Path, processes: Processes) -> None:
    """Raise UserError, in all processes, where shares are not as they were written; each file is read once."""
    try:
        hashes: dict[str, str] = json.loads((path / HASHES).read_bytes())
        names = sorted(hashes)
    except (ValueError, TypeError):
        raise UserError(f"{path / HASHES} is damaged: choose another") from None
    found = {path.name for path in (path / FOLDER).iterdir()}
    bad = [name for name in names[processes.rank :: processes.world] if not _is_whole(path / FOLDER / name, hashes)]
    damaged = sorted({name for part in processes.gather(bad) for name in part} | set(names) - found)
    if damaged:
        raise UserError(
            f"{path / FOLDER / damaged[0]} is damaged (its content does not match its hash): choose another"
        )


def _is_whole(path: Path, hashes: dict[str, str]) -> bool:
    return path.exists() and _flushed_hash(path) == hashes[path.name]


def read(path: Path, state: State) -> dict[str, Tensor]:
    """Return this process's share of a checkpoint. Raise ValueError where the state is another network's."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    _, config = checkpoint.read(path / checkpoint.MODEL, today=False)
    reader, template = HuggingFaceStorageReader(str(path / FOLDER)), state.state_template()
    saved: Mapping[str, Any] = reader.read_metadata().state_dict_metadata
    today = {name: renamed_tensor(name, config, is_state=True) for name in saved}
    if any(today[name] not in template or template[today[name]].shape != saved[name].size for name in saved):
        raise ValueError("other names or shapes")
    found: dict[str, Any] = {name: template[today[name]] for name in saved}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process is meant to read alone
        load(found, storage_reader=reader, no_dist=state.processes.world == 1)
    return {today[name]: value for name, value in found.items()}
