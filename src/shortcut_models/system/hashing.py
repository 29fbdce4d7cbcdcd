"""SHA-256 of tensors, arrays and bytes."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

HASH = "sha256"  # the key of a hash in a file's header


def hash_tensors(tensors: Mapping[str, Tensor], header: str = "") -> str:
    """Return the SHA-256 of a text and of tensors, in the order of their names."""
    digest = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_bytes(*parts: bytes | np.ndarray | None) -> str:
    """Return the SHA-256 of contiguous arrays and bytes, one after another."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.data.cast("B") if isinstance(part, np.ndarray) else part or b""
        digest.update(b"%d " % len(content))
        digest.update(content)
    return digest.hexdigest()
