"""Pickles that are hostile, broken or something else: one line each, and nothing done."""

from __future__ import annotations

import collections
import importlib
import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from hostile import CASE, SENTINEL, load, named, refused, text
from original_maker import write
from shortcut_models.errors import UserError
from shortcut_models.original_arrays import read_checkpoint
from shortcut_models.original_pickle import Made, Name, parse


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


CALLS = [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("subprocess", "check_output"),
    ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"), ("builtins", "__import__"),
    ("builtins", "open"), ("builtins", "compile"), ("builtins", "type"), ("__builtin__", "eval"), ("shutil", "rmtree"),
    ("importlib", "import_module"), ("pickle", "loads"), ("codecs", "open"), ("_codecs", "decode"),
    ("webbrowser", "open"), ("runpy", "run_path"), ("pty", "spawn"), ("operator", "attrgetter"), ("types", "CodeType"),
    ("functools", "partial"), ("torch", "load"), ("shortcut_models.checkpoint", "save"), ("__main__", "main"),
    ("numpyx", "array"), ("copyreg", "add_extension"), ("jaxlib_evil", "run"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), CALLS)
@pytest.mark.parametrize("protocol", [0, 4])
def test_other_names_are_refused(module: str, name: str, protocol: int, tmp_path: Path) -> None:
    order = f"touch {tmp_path / SENTINEL}".encode()
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(named(module, name, order, protocol=protocol) + b".")
    refused(path, f"asks for {module}.{name}, which a checkpoint has no use for: refused")


INERT = [
    ("numpy.testing._private.utils", "runstring"), ("numpy", "load"), ("numpy.f2py", "compile"), ("numpy", "os.system"),
    ("numpy.core.multiarray", "os.system"), ("jax.numpy", "os.system"), ("jax._src.util", "wraps"),
    ("flax.traverse_util", "eval"), ("optax._src.base", "os.system"), ("collections", "namedtuple"),
    ("collections", "_sys.modules"), ("pathlib", "os.system"), ("pathlib", "Path.touch"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), INERT)
def test_names_of_plausible_libraries_are_not_called(module: str, name: str, tmp_path: Path) -> None:
    """Not even looked up: most of them do not exist, some are not installed, and the others would do something."""
    order = str(tmp_path / SENTINEL).encode()
    path = tmp_path / "checkpoint.pkl"
    for protocol in (0, 4):
        path.write_bytes(named(module, name, order, protocol=protocol) + b".")
        refused(path, "no train_state")
        made = parse(path)
        assert isinstance(made, Made)
        assert made.by == Name(module, name)
    content = CASE.checkpoint()
    content["train_state"]["opt_state"] = "here"
    whole = pickle.dumps(content, 2)
    path.write_bytes(whole.replace(b"X\x04\x00\x00\x00here", named(module, name, order)))
    assert load(path) is not None
    assert list(tmp_path.iterdir()) == [path]


def test_every_way_to_call_is_inert(tmp_path: Path) -> None:
    """REDUCE, NEWOBJ, NEWOBJ_EX, INST and OBJ, with state, on a class of the optimiser and on one that is refused."""
    path = tmp_path / "checkpoint.pkl"
    order = b"X\x05\x00\x00\x00touch"
    for name in (b"optax\nState\n", b"os\nsystem\n"):
        calls = (
            b"c" + name + order + b"\x85R", b"c" + name + order + b"\x85\x81", b"c" + name + order + b"\x85}\x92",
            b"(" + order + b"i" + name, b"(c" + name + order + b"o",
        )  # fmt: skip
        for call in calls:
            path.write_bytes(call + b"}b.")
            refused(path, "no train_state" if name.startswith(b"optax") else "asks for os.system")


def test_a_real_unpickler_would_have_done_it(tmp_path: Path) -> None:
    """The hostile files are hostile."""
    sentinel = tmp_path / "elsewhere" / SENTINEL
    sentinel.parent.mkdir()
    content = CASE.checkpoint()
    content["_timestamp"] = Call(open, str(sentinel), "w")
    path = write(tmp_path / "checkpoint.pkl", content)
    refused(path, "asks for (io|_io).open")
    assert not sentinel.exists()
    with open(path, "rb") as file:
        pickle.load(file)["_timestamp"].close()
    assert sentinel.exists()


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
    "a kind that is no text": array(kind=b"I5\n"),
    "a kind that is a call": array(kind=named("numpy", "dtype")),
    "records": array(state=state(b"N(" + text("a") + b"t}")),
    "subarrays": array(state=state(b"(K\x01tNN")),
    "content that is no bytes": array(content=b"N"),
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
        numbers = read_checkpoint(path, ema=True).arrays["x"].numbers()
        assert numbers.tobytes() == b"abcd"
        assert (numbers.shape, numbers.dtype) == ((1,), np.float32)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("what", ARRAYS)
def test_arrays_that_are_none_are_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pkl"
    made = b"}" + text("train_state") + b"}" + text("params_ema") + b"}" + text("x") + ARRAYS[what] + b"ss" + b"s."
    path.write_bytes(made)
    refused(path, r"x is (of no use|no array of floating-point numbers)")
    params = CASE.checkpoint()
    params["train_state"]["params_ema"]["FinalLayer_0"]["Dense_1"]["bias"] = "here"
    path.write_bytes(pickle.dumps(params, 2).replace(text("here"), ARRAYS[what]))
    refused(path, r"FinalLayer_0.Dense_1.bias is (of no use|no array of floating-point numbers)")


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
    refused(Path("/dev/zero"), "is no file")
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    refused(path, "does not exist")
    refused(tmp_path / ("x" * 5000), "cannot be read|does not exist")


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps(CASE.checkpoint(), 4)
    path = tmp_path / "checkpoint.pkl"
    for size in [*range(1, 400, 3), *range(400, len(whole), 397), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="is damaged or no pickle"):
            parse(path)


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


def test_no_module_of_the_file_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(importlib, "import_module", lambda name, *_: asked.append(name))
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(b"}" + text("train_state") + named("optax.some.where", "State") + b"s.")
    refused(path, "no train_state")
    assert not asked
    assert not {name for name in sys.modules if name.startswith("optax")}
