"""Files that are broken, or something else: one line each."""

from __future__ import annotations

import collections
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from helpers.hostile import CASE, named, refused, text
from shortcut_models.errors import UserError
from shortcut_models.original.arrays import read_checkpoint
from shortcut_models.original.unpickle import read_pickle

STRANGE = {
    "an unset memo": b"\x80\x04h\x05.",
    "an unset memo as text": b"g7\n.",
    "a memo of nothing": b"\x94.",
    "an empty stack": b".",
    "no end": b"\x80\x04}",
    "no mark": b"\x80\x04}u.",
    "an odd number of items": b"}(" + text("a") + b"u.",
    "items of a number": b"I1\n(" + text("a") + text("b") + b"u.",
    "a name of numbers": b"K\x01K\x02\x93.",
    "a name of nothing": text("") + text("") + b"\x93.",
    "a name of many lines": text("numpy\n") + text("a\nb") + b"\x93.",
    "a very long name": text("numpy") + text("a" * 5000) + b"\x93.",
    "a name of dicts": b"}}\x93.",
    "a call of a number": b"I1\n)R.",
    "a call of a text": text("os.system") + b")R.",
    "a call of a call": named("numpy", "dtype") + b")R.",
    "a call of a dict": b"}}R.",
    "extension 1": b"\x82\x01.",
    "extension 2": b"\x83\x01\x00.",
    "extension 4": b"\x84\x01\x00\x00\x00.",
    "a persistent name": b"Pos.system\n.",
    "a persistent value": b"I1\nQ.",
    "a buffer outside": b"\x80\x05\x97.",
    "a buffer made read-only": b"\x80\x05C\x01a\x98.",
    "an unknown instruction": b"\x80\x04\xff.",
    "a protocol to come": b"\x80\xff\x99.",
    "a number of letters": b"Iabc\n.",
    "a number with no end": b"I" + b"1" * 100_000,
    "a text that is not closed": b"S'abc\n.",
    "a text in no encoding": b"X\x02\x00\x00\x00\xff\xfe.",
    "a point that is none": b"Fnan nan\n.",
    "nothing but zeros": bytes(1000),
    "a zip": b"PK\x03\x04" + bytes(100),
    "text": b"hello, world\n",
    "json": b'{"train_state": {}}',
    "a list": b"].",
    "a dict of nothing": b"}.",
    "a set": b"\x8f(K\x01\x90.",
    "a number": b"I1\n.",
}  # fmt: skip


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("what", STRANGE)
def test_strange_files_are_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(STRANGE[what])
    refused(path)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    makers: list[Callable[[], object]] = [
        lambda: safetensors.numpy.save_file({"a": np.zeros(3)}, path),
        lambda: np.savez(path.open("wb"), a=np.zeros(3)),
        lambda: np.save(path.open("wb"), np.zeros(3)),
        lambda: torch.save({"train_state": {}}, path),
        lambda: torch.save({"train_state": {}}, path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(random.Random(0).randbytes(10_000)),
        lambda: path.write_text("a: 1\n" * 100),
    ]
    for make in makers:
        make()
        refused(path)


def test_no_file_an_empty_one_and_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    refused(path, "does not exist")
    path.touch()
    refused(path, "is empty")
    refused(tmp_path, "is a folder")
    refused(Path("/dev/zero"), "is not a file")
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    refused(path, "does not exist")
    refused(tmp_path / ("x" * 5000), "cannot be read|does not exist")


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps(CASE.checkpoint(), 4)
    path = tmp_path / "checkpoint.pkl"
    for size in [*range(1, 400, 3), *range(400, len(whole), 397), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="is damaged or not a pickle"):
            read_pickle(path)


@pytest.mark.parametrize("protocol", range(6))
def test_damaged_files_are_refused_or_are_harmless(protocol: int, tmp_path: Path) -> None:
    """Bytes changed at random, near the instructions rather than in the numbers."""
    content = CASE.checkpoint()
    content["train_state"]["opt_state"] = collections.OrderedDict(a=(np.float32(1), {1, 2}), b=b"x" * 300)
    whole, draw = pickle.dumps(content, protocol), random.Random(protocol)
    path, outcomes = tmp_path / "checkpoint.pkl", list[str]()
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3, 20])):
            broken[draw.randrange(len(broken))] = draw.choice([draw.randrange(256), ord("R"), 0x93, ord("b"), ord("c")])
        path.write_bytes(broken)
        try:
            read_checkpoint(path, ema=True)
            outcomes.append("")
        except UserError as error:
            outcomes.append(str(error))
    assert not any("\n" in said for said in outcomes)
    assert sum(map(bool, outcomes)) > 20
    assert list(tmp_path.iterdir()) == [path]
