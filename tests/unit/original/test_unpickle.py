"""Pickles that would import or call something: one line each, and nothing done."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.hostile import CASE, SENTINEL, load, named, refused, text
from helpers.original_maker import write
from shortcut_models.original.unpickle import Inert, read_pickle


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
    ("functools", "partial"), ("torch", "load"), ("shortcut_models.models.checkpoint", "save"), ("__main__", "main"),
    ("numpyx", "array"), ("copyreg", "add_extension"), ("jaxlib_evil", "run"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), CALLS)
@pytest.mark.parametrize("protocol", [0, 4])
def test_other_names_are_refused(module: str, name: str, protocol: int, tmp_path: Path) -> None:
    order = f"touch {tmp_path / SENTINEL}".encode()
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(named(module, name, order, protocol=protocol) + b".")
    refused(path, f"asks for {module}.{name}, which a checkpoint does not need: refused")


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
        made = read_pickle(path)
        assert isinstance(made, Inert)
        assert (made.module, made.name, made.args) == (module, name, (order.decode(),))
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


def test_no_module_of_the_file_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(importlib, "import_module", lambda name, *_: asked.append(name))
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(b"}" + text("train_state") + named("optax.some.where", "State") + b"s.")
    refused(path, "no train_state")
    assert not asked
    assert not {name for name in sys.modules if name.startswith("optax")}
