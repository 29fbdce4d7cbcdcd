"""The tensors of a TorchScript file, read without running anything in it.

`torch.jit.load` runs code of the file: a module's `__setstate__`. The file is a zip archive with a pickle of its
modules, `data.pkl`, and the numbers of each tensor in a file of their own, `data/N`. Only these are looked at.
"""

from __future__ import annotations

import math
import mmap
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .unpickle import LONGEST, MALFORMED, Made, Name, Outside, Reader

LIBRARIES = frozenset({"__torch__", "torch", "collections"})
"""whose names such a file may hold; those of its own code begin with __torch__"""
REBUILT = Name("torch._utils", "_rebuild_tensor_v2")
KINDS = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
"""of numbers, by the name of their storage"""
MOST = 100_000
"""modules and what they hold; Inception has about 1,000"""
BROKEN = (*MALFORMED, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""what a broken file makes of reading it"""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The parameters, buffers and other tensors of a file's modules, on the CPU, by their names as in a state dict.

    They are those of `torch.jit.load(path).state_dict()`, but for a module that fills itself by code of its own: what
    lies in it is left out. Nothing in the file can make this take more memory than some times its size.

    Raises UserError, without naming the file, where it is damaged or no TorchScript file, or asks for what such a file
    has no use for.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive, path.stat().st_size).tensors()
    except UserError:
        raise
    except BROKEN:
        raise UserError("is damaged or no TorchScript file") from None


class _Archive:
    """An open file. What is wrong with it raises an error of `BROKEN`, or UserError."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        if sum(part.compress_size for part in archive.infolist()) > size:  # some lie upon one another
            raise ValueError
        self.archive, self.left = archive, size
        """left: bytes that tensors may still take; all together they need no more than the file"""
        pickles = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        self.root = next(pickles, "").removesuffix("data.pkl")
        self.storages: dict[tuple[str, str], Tensor] = {}

    def read(self, name: str) -> bytes:
        """A part of the file. It must not be compressed, as a small file could stand for very much then."""
        if self.archive.getinfo(self.root + name).compress_type != zipfile.ZIP_STORED:
            raise ValueError
        return self.archive.read(self.root + name)

    def tensors(self) -> dict[str, Tensor]:
        if self.root + "byteorder" in self.archive.namelist() and self.read("byteorder") != b"little":
            raise UserError("has its numbers in another order of bytes: write it on another kind of machine")
        content = self.read("data.pkl")
        memory = mmap.mmap(-1, max(len(content), 1))
        memory[: len(content)] = content
        module = Reader(memory, LIBRARIES, refers=True).run()
        if not _is_module(module):
            raise ValueError
        found, waiting, left = {}, [("", module)], MOST
        while waiting:
            name, value = waiting.pop()
            if _is_module(value):
                prefix = f"{name}." if name else ""
                held = value.state if isinstance(value.state, dict) else {}
                left -= len(held)
                if len(name) > LONGEST or left < 0:  # modules may hold one another in a ring
                    raise ValueError
                waiting += [(prefix + key, part) for key, part in reversed(held.items())]
            elif isinstance(value, Made) and value.by == REBUILT:
                found[name] = self.tensor(*value.args[:4])
        return found

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        """A tensor, as it would be rebuilt: a view of its storage."""
        numbers = self.storage(storage)
        self.left -= math.prod(size) * numbers.element_size()
        if min(size, default=0) < 0 or self.left < 0:
            raise ValueError
        return numbers.as_strided(size, stride, offset)

    def storage(self, reference: Any) -> Tensor:
        """All numbers of a storage, [n], which several tensors may share."""
        if not isinstance(reference, Outside):
            raise ValueError
        word, kind, key, _, count = reference.place
        if word != "storage" or kind.module != "torch" or not isinstance(key, str):
            raise ValueError
        if (key, kind.name) not in self.storages:
            content, dtype = bytearray(self.read(f"data/{key}")), KINDS[kind.name]
            found = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            self.storages[key, kind.name] = found
        if len(self.storages[key, kind.name]) != count:
            raise ValueError
        return self.storages[key, kind.name]


def _is_module(value: Any) -> bool:
    return isinstance(value, Made) and value.by.module.partition(".")[0] == "__torch__"
