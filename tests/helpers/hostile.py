"""Instructions of hostile pickles, and what they must meet: one line, and nothing done."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from shortcut_models.errors import UserError
from shortcut_models.original.network import load_network

from .original_maker import Original

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


def state(records: bytes = b"NNN") -> bytes:
    """The state of a NumPy dtype."""
    return b"(I3\n" + text("<") + records + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"


EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
KIND = b"cnumpy\ndtype\n(" + text("f4") + b"tR"
BUFFER = b"cnumpy.core.numeric\n_frombuffer\n(C\x04abcd" + KIND


def array(
    shape: bytes = b"(I1\nt", kind: bytes = text("f4"), state: bytes = state(), content: bytes = b"C\x04abcd"
) -> bytes:
    """A NumPy array as instructions; as it is, one of a single number."""
    dtype = b"cnumpy\ndtype\n(" + kind + b"I0\nI1\ntR" + state + b"b"
    return EMPTY + b"(I1\n" + shape + dtype + b"I00\n" + content + b"tb"
