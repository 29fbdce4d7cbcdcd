"""Pickles as instructions, and what they are refused with."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from original_maker import Original
from shortcut_models.errors import UserError
from shortcut_models.original import load_network

CASE = Original(width=8, depth=1, hidden=8, classes=2)
SENTINEL = "sentinel"


def load(path: Path) -> Any:
    return load_network(path, num_heads=2, image_size=8)


def refused(path: Path, said: str = ".") -> str:
    """The one line that a file is refused with."""
    before = set(path.parent.iterdir())
    with pytest.raises(UserError, match=said) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < len(str(path)) + 300
    assert set(path.parent.iterdir()) == before, "it did something"
    return str(error.value)


def named(module: str, name: str, *args: bytes, protocol: int = 4) -> bytes:
    """Instructions that call something by its name with texts, and leave the result on the stack."""
    if protocol < 4:
        found = f"c{module}\n{name}\n".encode()
    else:
        found = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"
    return found + b"(" + b"".join(b"X" + struct.pack("<I", len(arg)) + arg for arg in args) + b"tR"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
