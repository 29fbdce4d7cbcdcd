"""Read a pickle without running anything in it.

An unpickler imports what a file names and calls it, so a file can run any program. Names become objects in
`find_class` alone: here it returns an inert stand-in for a name that a checkpoint may hold, and refuses every other.
"""

import mmap
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ..errors import UserError

LARGEST = 2**36  # bytes of a file; the largest of the original's checkpoints, of a DiT-XL, takes about 11 GB
MOST_READS = 2_000_000  # pieces that a file is read in; that checkpoint takes about 200,000
MOST_NAMES = 1000
LONGEST = 200  # letters of a name
LARGE = 4096  # bytes from which on content stays in the file, behind a memoryview
LIBRARIES = frozenset({"jax", "jaxlib", "flax", "optax", "ml_dtypes", "chex", "haiku", "orbax", "ml_collections"})
LIBRARIES |= {"numpy", "collections", "datetime", "pathlib"}
PLAIN = ("object", "set", "frozenset", "list", "dict", "tuple", "bytes", "bytearray", "str", "int", "float", "bool")
SINGLE = frozenset(f"{m}.{name}" for m in ("builtins", "__builtin__") for name in (*PLAIN, "complex", "slice", "range"))
SINGLE |= {"_codecs.encode", "copyreg._reconstructor", "copy_reg._reconstructor"}  # names of other modules
CHOOSE = "choose a checkpoint of the original code"


class Inert:
    """A stand-in for an object of another library: it keeps what the object would be made from, and does nothing."""

    __slots__ = ("args", "items", "state")
    module: ClassVar[str] = ""
    name: ClassVar[str] = ""
    args: tuple[Any, ...]
    items: dict[str, Any]
    state: Any

    def __new__(cls, /, *args: Any, **_: Any) -> "Inert":
        made = super().__new__(cls)
        made.args, made.state, made.items = args, None, {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def extend(self, *_: Any) -> None:
        """Drop the items of a list, deque or set: no parameter is in one."""

    append = add = extend


class _File:
    """What the unpickler reads from: no more bytes than there are, and in no more than `MOST_READS` pieces."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.view, self.reads, self.readline = content, memoryview(content), 0, content.readline

    def read(self, size: int) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise UserError(f"has more than {MOST_READS:,} parts, which no checkpoint needs: refused")
        return self.content.read(min(size, len(self.view)))

    def take(self, size: int) -> bytes | memoryview:
        if size < LARGE:
            return self.read(size)
        begin = self.content.tell()
        self.content.seek(min(begin + size, len(self.view)))
        return self.view[begin : begin + size]


class _Reader(pickle._Unpickler):
    """Python's unpickler, not its twin in C: that one lets a file of ten bytes take 64 GB for its memo, and overflows
    its stack on the hash of a deep tuple. Keys are text here, so nothing else is hashed, and a file's harm is bounded
    by its size: one full of memo places with the same hash is slow, and no more than that.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: _File) -> None:
        super().__init__(file, encoding="latin-1")
        self.file, self.names = file, dict[str, type[Inert]]()

    def find_class(self, module: str, name: str) -> type[Inert]:
        if not all(re.fullmatch(rf"[\w.]{{1,{LONGEST}}}", text) for text in (module, name)):
            raise UserError("asks for an invalid name: refused")
        whole = f"{module}.{name}"
        if module.partition(".")[0] not in LIBRARIES and whole not in SINGLE:
            raise UserError(f"asks for {whole}, which a checkpoint does not need: refused")
        if whole not in self.names:
            if len(self.names) == MOST_NAMES:
                raise UserError(f"asks for more than {MOST_NAMES:,} names, which no checkpoint needs: refused")
            self.names[whole] = type(name, (Inert,), {"__slots__": (), "module": module, "name": name})
        return self.names[whole]

    def fill(self, target: Any, values: list[Any]) -> Any:
        items = target.items if isinstance(target, Inert) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise ValueError("items are set in what has none")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is str:  # no parameter has another key
                if len(key) > LONGEST:
                    raise UserError(f"has a name of more than {LONGEST} letters, which no checkpoint needs: refused")
                items[key] = value
        return target

    def push(self, make: Callable[[list[Any]], Any]) -> None:
        values = self.pop_mark()  # after which `append` is another list's
        self.append(make(values))

    def load_content(self, form: str) -> None:
        (size,) = struct.unpack(form, self.read(struct.calcsize(form)))
        self.append(self.file.take(size))

    dispatch = pickle._Unpickler.dispatch | {
        pickle.FRAME[0]: lambda self: self.read(8),  # a hint to read ahead, which would copy what stays in the file
        pickle.BINBYTES[0]: lambda self: self.load_content("<I"),
        pickle.BINBYTES8[0]: lambda self: self.load_content("<Q"),
        pickle.BYTEARRAY8[0]: lambda self: self.load_content("<Q"),
        pickle.EMPTY_SET[0]: lambda self: self.append(Inert()),
        pickle.FROZENSET[0]: lambda self: self.push(Inert),
        pickle.DICT[0]: lambda self: self.push(lambda values: self.fill({}, values)),
        pickle.SETITEM[0]: lambda self: self.fill(self.stack[-3], [self.stack.pop(-2), self.stack.pop()]),
        pickle.SETITEMS[0]: lambda self: self.fill(self.metastack[-1][-1], self.pop_mark()),
    }
    for _code in (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER):
        del dispatch[_code[0]]


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds, large bytes as memoryviews and other objects as `Inert`, or raise UserError."""
    try:
        if path.is_dir():
            raise UserError("is a folder: choose the checkpoint file in it")
        if not path.is_file():
            raise UserError(f"does not exist or is not a file: {CHOOSE}")
        size = path.stat().st_size
        if not 0 < size <= LARGEST:
            raise UserError(f"{'is larger than any checkpoint' if size else 'is empty'}: {CHOOSE}")
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _Reader(_File(content)).load()
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check it, or choose another file") from None
    except Exception as error:  # a broken pickle can raise anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path} is damaged or not a pickle ({reason}): {CHOOSE}") from None
