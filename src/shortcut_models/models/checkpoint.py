"""Checkpoints: written whole or not at all, checked by hash when read, and without pickles.

A checkpoint is a directory `checkpoints/00001000` of two safetensors files. `model.safetensors` holds the sampling
EMA and, in its header, the run's configuration: this one file rebuilds the model. `state.safetensors` holds what only
training needs, or is a folder in its place, see `sharded_checkpoint`.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from torch import Tensor

from ..errors import UserError
from ..system.files import sync_directory
from ..system.hashing import HASH, hash_tensors
from .legacy import upgrade

MODEL, STATE = "model.safetensors", "state.safetensors"
HEADER = "shortcut_models"

Content = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and the configuration that the header holds
Found = TypeVar("Found")


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name)


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first, without unfinished ones."""
    return sorted((path for path in folder.glob("[0-9]*") if path.name.isdecimal() and path.is_dir()), key=step_of)


def newest_step(folder: Path) -> int:
    """Return the step of a run's newest checkpoint, 0 where it has none."""
    return max(map(step_of, list_checkpoints(folder)), default=0)


def save(
    folder: Path, step: int, model: Mapping[str, Tensor], state: Mapping[str, Tensor], header: dict[str, Any], keep: int
) -> Path:
    """Write the checkpoint of a step into the folder and, when it is complete, remove all but the last `keep`."""
    temporary = begin(folder, step)
    try:
        for name, tensors in ((MODEL, model), (STATE, state)):
            write(temporary / name, tensors, header)
        return publish(temporary, keep)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_model(folder: Path, model: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write a model alone, whole or not at all, in place of the one that the folder may hold."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")  # a name that a run removes where a crash left it
    write(temporary, model, header)
    os.replace(temporary, folder / MODEL)
    sync_directory(folder)


def begin(folder: Path, step: int) -> Path:
    """Make an empty directory for the checkpoint of a step, under a name that is not yet a checkpoint's."""
    temporary = folder / f".{step:08d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # left by a crash
    temporary.mkdir(parents=True)
    return temporary


def publish(temporary: Path, keep: int) -> Path:
    """Give a complete, flushed directory of `begin` its name, then remove all but the last `keep`."""
    folder, final = temporary.parent, temporary.with_name(temporary.stem.removeprefix("."))
    sync_directory(temporary)
    if final.exists():  # damaged, or the run would have resumed from it
        shutil.rmtree(final)
    temporary.rename(final)
    sync_directory(folder)
    # Checkpoints of later steps are damaged, or the run would have resumed from them.
    kept = [path for path in list_checkpoints(folder) if step_of(path) <= step_of(final)][-keep:]
    for path in list_checkpoints(folder):
        if path not in kept:
            shutil.rmtree(path)
    return final


def write(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        file.write(to_bytes(tensors, header))
        file.flush()
        os.fsync(file.fileno())


def to_bytes(tensors: Mapping[str, Tensor], header: dict[str, Any], **more: str) -> bytes:
    """Return the content of a file of tensors, with a header, the hash of both, and more metadata."""
    # Copied, as the format cannot hold weights that share their memory.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header)
    return safetensors.torch.save(copies, metadata={HEADER: text, HASH: hash_tensors(copies, text), **more})


def read(path: Path, *, today: bool = True) -> Content:
    """Return the content of a file, or raise UserError; today: with the names of today."""
    tensors, metadata = _open(path)
    if HEADER not in metadata:
        reason = f"its header does not have {HEADER!r}"
        raise UserError(f"{path} was not saved by shortcut-models ({reason}): choose another")
    if hash_tensors(tensors, metadata[HEADER]) != metadata.get(HASH):
        raise UserError(f"{path} is damaged (its content does not match its hash): choose another")
    try:
        config = dict(json.loads(metadata[HEADER]))
        return upgrade(tensors, config, is_state=path.name == STATE) if today else (tensors, config)
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged (its configuration is not a JSON object): choose another") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, checked by its hash, which earlier files in the Hub's layout do not have."""
    tensors, metadata = _open(path)
    if HASH in metadata and hash_tensors(tensors, metadata.get(HEADER, "")) != metadata[HASH]:
        raise UserError(f"{path} is damaged (its content does not match its hash): choose another")
    return tensors


def is_ours(path: Path) -> bool:
    """Return whether a file says that shortcut-models wrote it."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return HEADER in (file.metadata() or {})
    except (safetensors.SafetensorError, ValueError):
        return False


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file by name, and its header."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({error}): choose another") from None


def newest(folder: Path, names: Sequence[str]) -> tuple[Path, list[Content]] | None:
    """Return the newest checkpoint of which all these files are undamaged, with their content: see `first_whole`."""
    return first_whole(folder, lambda path: [read(path / name) for name in names])


def first_whole(folder: Path, look: Callable[[Path], Found]) -> tuple[Path, Found] | None:
    """Return the newest checkpoint that `look` raises no error for, and what it returned; warn about those skipped."""
    found = list_checkpoints(folder)
    for checkpoint in reversed(found):
        try:
            return checkpoint, look(checkpoint)
        except UserError as error:
            reason = str(error).removesuffix(": choose another")
        except OSError as error:
            reason = f"{error.filename or checkpoint} cannot be read ({error.strerror or error})"
        if checkpoint == found[0]:
            raise UserError(f"{reason}, and no other checkpoint is undamaged: start from scratch with another --run")
        warnings.warn(f"{reason}: the checkpoint before it is used", stacklevel=3)
    return None
