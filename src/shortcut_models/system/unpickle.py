"""Pickles, read without running anything.

Python's unpickler imports what a file names and calls it, so a file can run any program. This reader follows the
same instructions on a stack of its own, and where one says to import or to call, it notes down what by and with
what, as a `Name` or a `Made`. Nothing is imported and nothing is called. Names from libraries that no checkpoint
needs are refused besides, as the file that has them is up to something.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import UserError

MOST = 2_000_000
"""instructions; the largest of the original's networks, XL, takes some 100,000"""
LONGEST = 200
"""letters of a name"""
LARGE = 4096
"""bytes from which on content stays where it is in the file, and is looked at through a memoryview"""
NAME = re.compile(rf"[\w.]{{1,{LONGEST}}}")

MALFORMED = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, AssertionError),
    struct.error,
)
"""what a broken pickle makes of the standard library's reading of its instructions, or of ours"""


class Name(NamedTuple):
    """What an unpickler would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Outside(NamedTuple):
    """What an unpickler would ask its owner for, by a persistent id."""

    place: Any


class Made:
    """What an unpickler would make by calling something: what it would call, and all that it would hand over."""

    __slots__ = ("args", "by", "items", "state")

    def __init__(self, by: Any, args: Any) -> None:
        self.by, self.args = by, args
        self.state: Any = None
        """what it would be filled with after it is made"""
        self.items: dict[str, Any] = {}
        """what would be set in it by key"""


class _File:
    """What `pickletools.genops` reads from: never more than there is, and large parts without a copy."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.view = content, memoryview(content)
        self.readline, self.tell = content.readline, content.tell

    def read(self, size: int) -> bytes | memoryview:
        if size < LARGE:
            return self.content.read(size)
        begin = self.content.tell()
        end = min(begin + size, len(self.view))
        self.content.seek(end)
        return self.view[begin:end]


class Reader:
    """The stack machine. Values between marks are kept in lists of their own, as in Python's unpickler.

    Nothing in a pickle can make it take more memory or time than some times its size: what is the key of a dict is
    bounded, as a file may hold many that a dict takes for alike.
    """

    def __init__(
        self, content: mmap.mmap, libraries: frozenset[str], single: frozenset[str] = frozenset(), *, refers: bool
    ) -> None:
        """content: a pickle; libraries: whose names it may hold, and single ones of other modules; refers: whether it
        may refer to what lies outside it, which becomes `Outside`.
        """
        self.file, self.libraries, self.single, self.refers = _File(content), libraries, single, refers
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle holds: numbers, texts, bytes, lists, tuples and dicts, and a `Made` in place of all else.

        Large bytes are memoryviews of the content.

        Raises UserError for what is refused, without saying of what file, or an error of `MALFORMED`.
        """
        operations = pickletools.genops(self.file)  # type: ignore[arg-type]
        for count, (operation, argument, _) in enumerate(operations):
            if count == MOST:
                raise UserError(f"has more than {MOST:,} instructions, which no checkpoint needs: refused")
            if operation.name == "STOP":
                return self.stack.pop()
            if operation.name in CONSTANTS:
                self.stack.append(CONSTANTS[operation.name])
            elif operation.name not in IGNORED:
                if operation.name not in OPERATIONS:
                    raise UserError(f"asks for {operation.name}, which a checkpoint has no use for: refused")
                OPERATIONS[operation.name](self, argument)
        raise ValueError("it has no end")

    def pop(self, count: int = 1) -> tuple[Any, ...]:
        """The last values of the stack, in order."""
        if len(self.stack) < count:
            raise ValueError("a value is missing")
        taken = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return taken

    def pop_mark(self) -> list[Any]:
        """All values since the last mark."""
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_one(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def memoize(self, index: int | None) -> None:
        place = len(self.memo) if index is None else index
        if not 0 <= place < MOST:
            raise UserError(f"stores a value at a place beyond {MOST:,}, which no checkpoint needs: refused")
        self.memo[place] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError("it looks up what it has not stored")
        self.stack.append(self.memo[index])

    def append(self, values: list[Any] | tuple[Any, ...]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def set_items(self, values: list[Any] | tuple[Any, ...]) -> None:
        """Keys that are not text are dropped: no parameter has one."""
        target = self.stack[-1]
        items = target.items if isinstance(target, Made) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise ValueError("items are set in what has none")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is str:
                if len(key) > LONGEST:
                    raise UserError(f"has a name of more than {LONGEST} letters, which no checkpoint needs: refused")
                items[key] = value

    def dictionary(self, values: list[Any]) -> None:
        self.stack.append({})
        self.set_items(values)

    def make_marked(self, values: list[Any]) -> None:
        if not values:
            raise ValueError("a value is missing")
        self.make(values[0], tuple(values[1:]))

    def import_name(self, text: str) -> Name:
        module, _, name = text.partition(" ")
        return self.name(module, name)

    def build(self, _: Any) -> None:
        (state,) = self.pop()
        if isinstance(self.stack[-1], Made):
            self.stack[-1].state = state

    def name(self, module: Any, name: Any) -> Name:
        """A name, after a look at whether a checkpoint may hold it."""
        if not (type(module) is type(name) is str) or not all(re.fullmatch(NAME, s) for s in (module, name)):
            raise UserError("asks for something whose name is no name: refused")
        found = Name(module, name)
        if module.partition(".")[0] not in self.libraries and str(found) not in self.single:
            raise UserError(f"asks for {found}, which a checkpoint has no use for: refused")
        return found

    def refer(self, place: Any) -> None:
        if not self.refers:
            raise UserError("asks for BINPERSID, which a checkpoint has no use for: refused")
        self.stack.append(Outside(place))

    def make(self, by: Any, args: Any) -> None:
        if not isinstance(by, Name):
            raise ValueError("it calls what is no name")
        self.stack.append(Made(by, args))


NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
IGNORED = frozenset({"PROTO", "FRAME"})
OPERATIONS: dict[str, Callable[[Reader, Any], None]] = {
    **dict.fromkeys((*NUMBERS, *TEXTS, *BYTES), Reader.push),
    "MARK": Reader.mark,
    "POP": Reader.pop_one,
    "POP_MARK": lambda r, _: r.pop_mark().clear(),
    "DUP": lambda r, _: r.push(r.stack[-1]),
    "EMPTY_TUPLE": lambda r, _: r.push(()),
    "TUPLE1": lambda r, _: r.push(r.pop(1)),
    "TUPLE2": lambda r, _: r.push(r.pop(2)),
    "TUPLE3": lambda r, _: r.push(r.pop(3)),
    "TUPLE": lambda r, _: r.push(tuple(r.pop_mark())),
    "EMPTY_LIST": lambda r, _: r.push([]),
    "EMPTY_SET": lambda r, _: r.push([]),  # sets are of no interest, and texts of theirs need no hash
    "LIST": lambda r, _: r.push(r.pop_mark()),
    "FROZENSET": lambda r, _: r.push(r.pop_mark()),
    "EMPTY_DICT": lambda r, _: r.push({}),
    "DICT": lambda r, _: r.dictionary(r.pop_mark()),
    "APPEND": lambda r, _: r.append(r.pop()),
    "APPENDS": lambda r, _: r.append(r.pop_mark()),
    "ADDITEMS": lambda r, _: r.append(r.pop_mark()),
    "SETITEM": lambda r, _: r.set_items(r.pop(2)),
    "SETITEMS": lambda r, _: r.set_items(r.pop_mark()),
    "BUILD": Reader.build,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Reader.memoize),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Reader.recall),
    "GLOBAL": lambda r, text: r.push(r.import_name(text)),
    "STACK_GLOBAL": lambda r, _: r.push(r.name(*r.pop(2))),
    "REDUCE": lambda r, _: r.make(*r.pop(2)),
    "NEWOBJ": lambda r, _: r.make(*r.pop(2)),
    "NEWOBJ_EX": lambda r, _: r.make(*r.pop(3)[:2]),
    "INST": lambda r, text: r.make(r.import_name(text), tuple(r.pop_mark())),
    "OBJ": lambda r, _: r.make_marked(r.pop_mark()),
    "BINPERSID": lambda r, _: r.refer(*r.pop()),
}
"""what each instruction does; those that are not here are refused"""
