"""Arrays in a pickle that are none, or are not what they say."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from helpers.hostile import BUFFER, CASE, EMPTY, array, named, refused, state, text
from helpers.original_maker import write
from shortcut_models.original.arrays import read_checkpoint

ARRAYS = {
    "a shape much too large": array(shape=b"(I1000000\nI1000000\nt"),
    "a shape beyond all numbers": array(shape=b"(\x8a\x09" + b"\xff" * 8 + b"\x00t"),
    "a negative shape": array(shape=b"(I-1\nt"),
    "two negative sizes": array(shape=b"(I-1\nI-1\nt"),
    "a shape of text": array(shape=text("shape")),
    "a shape of truth": array(shape=b"(\x88t"),
    "a hundred axes": array(shape=b"(" + b"I1\n" * 100 + b"t"),
    "another shape than bytes": array(shape=b"(I2\nt"),
    "objects": array(kind=text("O8"), content=b"(]t"),
    "objects from a list": array(kind=text("O"), content=b"](Ne"),
    "void of 2 GB": array(kind=text("V2000000000")),
    "letters of 2 GB": array(kind=text("U500000000")),
    "a kind that is not text": array(kind=b"I5\n"),
    "a kind that is a call": array(kind=named("numpy", "dtype")),
    "records": array(state=state(b"N(" + text("a") + b"t}")),
    "subarrays": array(state=state(b"(K\x01tNN")),
    "content that is not bytes": array(content=b"N"),
    "content of other letters": array(content=text("\u4e00abc")),
    "content decoded otherwise": array(content=named("_codecs", "encode", b"abcd", b"zip")),
    "no state": EMPTY,
    "a buffer of another size": BUFFER + b"(I9\nt" + text("C") + b"tR",
    "axes that are none": BUFFER + b"(I1\nt" + text("K") + b"(I7\nttR",
}  # fmt: skip


def test_the_array_that_the_others_were_made_from_is_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    for whole in (array(), BUFFER + b"(I1\nt" + text("C") + b"tR", BUFFER + b"(I1\nt" + text("K") + b"(I0\nttR"):
        path.write_bytes(b"}" + text("train_state") + b"}" + text("params_ema") + b"}" + text("x") + whole + b"sss.")
        numbers = read_checkpoint(path, ema=True)[0]["x"].numbers()
        assert numbers.tobytes() == b"abcd"
        assert (numbers.shape, numbers.dtype) == ((1,), np.float32)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("what", ARRAYS)
def test_arrays_that_are_none_are_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    made = b"}" + text("train_state") + b"}" + text("params_ema") + b"}" + text("x") + ARRAYS[what] + b"ss" + b"s."
    path.write_bytes(made)
    refused(path, r"x (cannot be used|is not an array of floating-point numbers)")
    params = CASE.checkpoint()
    params["train_state"]["params_ema"]["FinalLayer_0"]["Dense_1"]["bias"] = "here"
    path.write_bytes(pickle.dumps(params, 2).replace(text("here"), ARRAYS[what]))
    refused(path, r"FinalLayer_0.Dense_1.bias (cannot be used|is not an array of floating-point numbers)")


@pytest.mark.usefixtures("little_memory")
def test_the_same_bytes_as_many_arrays_are_refused(tmp_path: Path) -> None:
    """1 MB, claimed by a thousand arrays."""
    content, one = CASE.checkpoint(), np.zeros(250_000, np.float32)
    for protocol in (2, 4, 5):
        many = {f"x{i}": one for i in range(1000)}
        content["train_state"]["params_ema"] |= {"many": many}
        refused(write(tmp_path / "checkpoint.pkl", content, protocol), "the same bytes are there as several arrays")
