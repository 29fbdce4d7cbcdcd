"""Checkpoints: written whole or not at all, checked by hash when read, and free of pickles.

A checkpoint is a directory `checkpoints/00001000` of two safetensors files. `model.safetensors` holds the sampling
EMA with the run's configuration in its header: this one file rebuilds the model. `state.safetensors` holds what only
training needs. `hashes.json` holds their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from .errors import UserError

MODEL, STATE, HASHES = "model.safetensors", "state.safetensors", "hashes.json"
HEADER = "shortcut_models"


def _bytes(tensors: Mapping[str, Tensor], header: dict[str, Any]) -> bytes:
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(contiguous, metadata={HEADER: json.dumps(header)})


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def step_of(checkpoint: Path) -> int:
    """The training step of a checkpoint directory."""
    return int(checkpoint.name)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; unfinished ones are not among them."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=step_of)


def save(
    folder: Path, step: int, model: Mapping[str, Tensor], state: Mapping[str, Tensor], header: dict[str, Any], keep: int
) -> Path:
    """Write the checkpoint of a step into the folder, then remove all but the last `keep`.

    The files are written and flushed under a temporary name and renamed in one go, so a crash or a full disk at
    any moment leaves the earlier checkpoints as they were. Raises OSError where the disk refuses.
    """
    final, temporary = folder / f"{step:08d}", folder / f".{step:08d}.{os.getpid()}.tmp"
    try:
        temporary.mkdir(parents=True)
        hashes = {}
        for name, tensors in ((MODEL, model), (STATE, state)):
            content = _bytes(tensors, header)
            hashes[name] = hashlib.sha256(content).hexdigest()
            _write(temporary / name, content)
        _write(temporary / HASHES, json.dumps(hashes).encode())
        _sync_directory(temporary)
        if final.exists():  # an earlier attempt at this very step; the new one is known to be whole
            shutil.rmtree(final)
        temporary.rename(final)
        _sync_directory(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        hashes = json.loads((checkpoint / HASHES).read_text())
        for name in (MODEL, STATE):
            if _sha256(checkpoint / name) != hashes[name]:
                return f"{name} does not match its hash"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError):
        return f"{HASHES} is damaged"
    return None


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, or None where there is none at all.

    Warns of each damaged one that is passed over. Raises UserError where all are damaged.
    """
    found = list_checkpoints(folder)
    for checkpoint in reversed(found):
        reason = damage(checkpoint)
        if reason is None:
            return checkpoint
        warnings.warn(f"checkpoint {checkpoint} is damaged ({reason}): using the one before", stacklevel=2)
    if found:
        raise UserError(f"every checkpoint in {folder} is damaged: start anew with another --run")
    return None


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file and our header. Raises UserError where the file is not one of ours."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged or no safetensors file ({error})") from None
    if header is None:
        raise UserError(f"{path} is not a model of shortcut-models: its header has no {HEADER!r} entry")
    return tensors, json.loads(header)
