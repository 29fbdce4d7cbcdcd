"""Pickles that would take much memory or time: refused soon, in one line."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hostile import CASE, refused, text
from original_maker import write
from shortcut_models import original_pickle


def big(kind: str) -> bytes:
    """Instructions that claim to be followed by much more than they are."""
    huge4, huge8 = struct.pack("<I", 2**31 - 1), struct.pack("<Q", 2**62)
    return {
        "bytes": b"B" + struct.pack("<I", 2**32 - 1) + b"x",
        "bytes8": b"\x8e" + huge8 + b"x",
        "bytearray": b"\x96" + huge8 + b"x",
        "a bytearray of 40 GB": b"\x96" + struct.pack("<Q", 40 * 10**9) + b"x",
        "text": b"X" + struct.pack("<I", 2**32 - 1) + b"x",
        "text8": b"\x8d" + huge8 + b"x",
        "old text": b"T" + huge4 + b"x",
        "a number": b"\x8b" + huge4 + b"1",
        "a negative size": b"\x8b" + struct.pack("<i", -5) + b"1",
        "a negative text": b"T" + struct.pack("<i", -5) + b"1",
        "a frame": b"\x95" + huge8 + b"}.",
        "the memo": b"}r" + struct.pack("<I", 2**32 - 1) + b".",
        "the memo as text": b"}p" + b"9" * 30 + b"\n.",
    }[kind]


KINDS = (
    "bytes", "bytes8", "bytearray", "a bytearray of 40 GB", "text", "text8", "old text", "a number", "a negative size",
    "a negative text", "a frame", "the memo", "the memo as text",
)  # fmt: skip


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", KINDS)
def test_claimed_sizes_cost_nothing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(b"\x80\x04" + big(kind))
    said = refused(path)
    assert "MemoryError" not in said


@pytest.mark.usefixtures("little_memory")
def test_laughs_by_the_billion_end_at_once(tmp_path: Path) -> None:
    """Dicts, tuples and lists that hold the next one twice: 2^60 of them, for whoever follows them all."""
    path, begin = tmp_path / "checkpoint.pkl", time.perf_counter()
    made = b"}" + b"".join(
        b"q" + bytes([i]) + b"0}" + text("a") + b"h" + bytes([i]) + b"s" + text("b") + b"h" + bytes([i]) + b"s"
        for i in range(60)
    )
    for inner in (made, b"(" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))):
        path.write_bytes(b"}" + text("train_state") + b"}" + text("params_ema") + inner.replace(b"(", b")") + b"ss.")
        refused(path)
    assert time.perf_counter() - begin < 5


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("inside", [b"\x85", b"l", b"}" + text("a") + b"2"])
def test_deep_nests_end_at_once(inside: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    nest = {b"\x85": b")" + b"\x85" * 100_000, b"l": b"(" * 50_000 + b"l" * 50_000}.get(inside)
    if nest is None:  # a dict in a dict in a dict
        nest = (b"}" + text("a")) * 50_000 + b"N" + b"s" * 50_000
    for key in ("params_ema", "opt_state"):
        path.write_bytes(b"}" + text("train_state") + b"}" + text(key) + nest + b"ss.")
        refused(path)


def test_a_dict_that_holds_itself_is_refused(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    content = {"train_state": {"params_ema": loop}}
    refused(write(tmp_path / "checkpoint.pkl", content), "there twice")
    content["train_state"] = content
    refused(write(tmp_path / "checkpoint.pkl", content))
    rows: list[Any] = []
    rows.append(rows)
    refused(write(tmp_path / "checkpoint.pkl", rows))


@pytest.mark.usefixtures("little_memory")
def test_the_same_bytes_as_many_arrays_are_refused(tmp_path: Path) -> None:
    """1 MB, claimed by a thousand arrays."""
    content, one = CASE.checkpoint(), np.zeros(250_000, np.float32)
    for protocol in (2, 4, 5):
        many = {f"x{i}": one for i in range(1000)}
        content["train_state"]["params_ema"] |= {"many": many}
        refused(write(tmp_path / "checkpoint.pkl", content, protocol), "the same bytes are there as several arrays")


def test_long_names_are_refused(tmp_path: Path) -> None:
    """Every value below a long name would go by it."""
    content = {"train_state": {"params_ema": {"a" * 10**6: {str(i): i for i in range(1000)}}}}
    refused(write(tmp_path / "checkpoint.pkl", content), "too long")


def test_endless_instructions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty dict takes a byte in the file, and 64 in memory."""
    assert original_pickle.MOST <= 2_000_000
    monkeypatch.setattr(original_pickle, "MOST", 20_000)
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(b"}" * 30_000 + b".")
    refused(path, "more than 20,000 instructions")


def test_keys_that_are_not_text_cost_nothing(tmp_path: Path) -> None:
    """Whole numbers with the same hash would take a dict hours."""
    path, begin = tmp_path / "checkpoint.pkl", time.perf_counter()
    keys = b"".join(b"\x8a\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N" for i in range(30_000))
    path.write_bytes(b"}(" + keys + b"u.")
    refused(path)
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize("sign", [1, -1])
def test_places_far_apart_are_refused(sign: int, tmp_path: Path) -> None:
    """Places with the same hash would take a dict hours, as such keys would."""
    path, begin = tmp_path / "checkpoint.pkl", time.process_time()
    path.write_bytes(b"}" + b"".join(b"p%d\n" % (sign * i * (2**61 - 1)) for i in range(30_000)) + b".")
    refused(path, "stores values at places that no checkpoint needs: refused")
    assert time.process_time() - begin < 2


def test_a_dict_held_many_times_is_followed_once(tmp_path: Path) -> None:
    """Merged as often as it is held, by one object or by many, it would take the square of the file's size."""
    path, begin = tmp_path / "checkpoint.pkl", time.process_time()
    names = b"}q\x00(" + b"".join(text(f"x{i}") + b"N" for i in range(10_000)) + b"u0"
    holder = b"cflax\nFrozen\n)R(" + b"h\x00" * 60_000 + b"tb"
    path.write_bytes(names + b"}" + text("train_state") + b"}" + text("params_ema") + holder + b"ss.")
    refused(path, "is no array")
    content, fields = CASE.checkpoint(), {f"x{i}": np.zeros(0, np.float32) for i in range(2000)}
    content["train_state"]["params_ema"] = {str(i): Held(fields) for i in range(3000)}
    refused(write(path, content), "there twice")
    assert time.process_time() - begin < 5


class Held:
    """Pickles as an object of Flax that is filled with a dict."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (), self.fields
