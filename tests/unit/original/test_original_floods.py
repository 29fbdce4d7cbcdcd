"""Pickles that would take all memory, or years: they are refused before.

Time is not measured: a machine may be busy. Where refusal is not immediate it takes years, or more memory than there
is, so each of these tests would fail by its time limit or its memory limit.
"""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.hostile import CASE, KIND, refused, text
from helpers.original_maker import write
from shortcut_models.original import unpickle


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
def test_laughs_by_the_billion_are_not_followed(tmp_path: Path) -> None:
    """Dicts and tuples that hold the next one twice: 2^60 of them, if each is followed or hashed."""
    path = tmp_path / "checkpoint.pkl"
    made = b"}" + b"".join(
        b"q" + bytes([i]) + b"0}" + text("a") + b"h" + bytes([i]) + b"s" + text("b") + b"h" + bytes([i]) + b"s"
        for i in range(60)
    )
    for inner in (made, b"(" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))):
        inner = inner.replace(b"(", b")")
        path.write_bytes(b"}" + text("train_state") + b"}" + text("params_ema") + inner + b"ss.")
        refused(path)
        for hashed in (b"}" + inner + b"Ns", b"\x8f(" + inner + b"\x90", b"(" + inner + b"\x91", b"(" + inner + b"Nd"):
            path.write_bytes(hashed + b".")
            refused(path)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("inside", [b"\x85", b"l", pytest.param(b"}" + text("a") + b"2", marks=pytest.mark.long)])
def test_deep_nests_are_refused(inside: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    nest = {b"\x85": b")" + b"\x85" * 100_000, b"l": b"(" * 50_000 + b"l" * 50_000}.get(inside)
    if nest is None:  # a dict in a dict in a dict
        nest = (b"}" + text("a")) * 50_000 + b"N" + b"s" * 50_000
    for key in ("params_ema", "opt_state"):
        path.write_bytes(b"}" + text("train_state") + b"}" + text(key) + nest + b"ss.")
        refused(path)
    path.write_bytes(b"}" + nest + b"Ns.")  # as a key, whose hash would overflow the stack
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


def test_long_names_are_refused(tmp_path: Path) -> None:
    """Every value below a long name would go by it."""
    content = {"train_state": {"params_ema": {"a" * 10**6: {str(i): i for i in range(1000)}}}}
    refused(write(tmp_path / "checkpoint.pkl", content), "has a name of more than 200 letters")


def test_endless_instructions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty dict takes a byte in the file, and 64 in memory."""
    assert unpickle.MOST_READS <= 2_000_000
    monkeypatch.setattr(unpickle, "MOST_READS", 20_000)
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(b"}" * 30_000 + b".")
    refused(path, "more than 20,000 parts")


def test_endless_names_are_refused(tmp_path: Path) -> None:
    """A stand-in is a class, of about a kilobyte."""
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(b"".join(b"coptax\nState%d\n" % i for i in range(2000)) + b".")
    refused(path, "asks for more than 1,000 names")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pkl"
    with open(path, "wb") as file:
        file.truncate(unpickle.LARGEST + 1)  # which takes no place on the disk
    monkeypatch.setattr(unpickle.mmap, "mmap", None)
    refused(path, "is larger than any checkpoint")


def test_keys_that_are_not_text_are_dropped(tmp_path: Path) -> None:
    """Whole numbers with the same hash would take a dict hours."""
    path = tmp_path / "checkpoint.pkl"
    keys = b"".join(b"\x8a\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N" for i in range(30_000))
    path.write_bytes(b"}(" + keys + b"u.")
    assert unpickle.read_pickle(path) == {}
    refused(path)


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def items(count: int, value: Callable[[int], bytes]) -> bytes:
    """A dict of so many values, by the names a0, a1, ..."""
    return b"}(" + b"".join(text(f"a{i}") + value(i) for i in range(count)) + b"u"


def parameters(tree: bytes) -> bytes:
    return b"}" + text("train_state") + b"}" + text("params_ema") + tree + b"ss."


FRAME = b"cflax\nFrozenDict\n"
EMPTY_ARRAY = b"cnumpy.core.numeric\n_frombuffer\n(C\x00" + KIND + b"(I0\nt" + text("C") + b"tR"


def flood(kind: str, count: int) -> bytes:
    """Instructions that would take time, or memory, by the square of their number."""
    many, big = items(count, lambda _: b"N"), text("<" * 10 * count + "f4")
    match kind:
        case "places of the memo with the same hash":
            return b"}" + b"".join(b"p%d\n" % (i * (2**61 - 1)) for i in range(count)) + b"."
        case "places below 0 with the same hash":
            return b"}" + b"".join(b"p-%d\n" % (i * (2**61 - 1)) for i in range(1, count)) + b"."
        case "a dict many times in a state":
            return parameters(FRAME + b")R(" + many + put(1) + get(1) * count + b"tb")
        case "a dict as the state of many":
            made = items(count, lambda _: get(2) + b")R" + get(1) + b"b")
            return parameters(many + put(1) + b"0" + FRAME + put(2) + b"0" + made)
        case "a dict in many frozen ones":
            made = items(count, lambda _: get(2) + get(1) + b"R")
            return parameters(many + b"\x85" + put(1) + b"0" + FRAME + put(2) + b"0" + made)
        case "two long keys that are alike":
            return b"}" + big + b"Ns" + big + put(1) + b"0" + (get(1) + b"Ns") * count + b"."
        case "one long kind of number for many arrays":
            one = EMPTY_ARRAY.replace(text("f4"), big) + put(1) + b"0"
            return parameters(one + items(count, lambda _: get(1)))
        case "an order of axes of two long numbers":
            long = b"\x8b" + struct.pack("<i", 4_000_000) + b"\x7f" * 4_000_000
            order = long + put(1) + b"0" + long + put(2) + b"0(" + (get(1) + get(2)) * (count // 2) + b"t"
            return parameters(items(1, lambda _: EMPTY_ARRAY.replace(text("C"), order)))
        case "long names for one array":
            nest = items(count, lambda _: get(1))
            for _ in range(12):
                nest = b"}" + text("b" * 190) + nest + b"s"
            return parameters(EMPTY_ARRAY + put(1) + b"0" + nest)
    raise AssertionError(kind)


FLOODS = {
    "places of the memo with the same hash": "no train_state/params_ema",
    "places below 0 with the same hash": "negative PUT argument",
    "a dict many times in a state": "no train_state/params_ema",
    "a dict as the state of many": "'a1' is too long, or there twice",
    "a dict in many frozen ones": "'a1' is too long, or there twice",
    "two long keys that are alike": "has a name of more than 200 letters",
    "one long kind of number for many arrays": "a0 cannot be used: it holds '<<<",
    "an order of axes of two long numbers": "a0 cannot be used: the order of its axes is not understood",
    "long names for one array": "is too long, or there twice",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_are_refused_before_they_rise(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(flood(kind, 2000))
    tracemalloc.start()
    try:
        refused(path, FLOODS[kind])
        assert tracemalloc.get_traced_memory()[1] < 20 * path.stat().st_size + 10**6
    finally:
        tracemalloc.stop()


def test_a_file_of_many_blocks_is_refused(tmp_path: Path) -> None:
    """A block has fourteen arrays, whose names alone would take a hundred times what it takes in the file."""
    content = CASE.checkpoint()
    content["train_state"]["params_ema"] |= {f"DiTBlock_{i}": {"x": np.zeros(0, np.float32)} for i in range(1, 1100)}
    refused(write(tmp_path / "checkpoint.pkl", content), "more than 1,024 blocks")
