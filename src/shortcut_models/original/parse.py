"""The pickle that a checkpoint of the paper's own code is, read without running anything: see `inert_pickle`."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..system.unpickle import MALFORMED, Reader

JAX = ("jax", "jaxlib", "flax", "optax", "ml_dtypes", "chex", "haiku", "orbax", "ml_collections")
LIBRARIES = frozenset({*JAX, "numpy", "collections", "datetime", "pathlib"})
"""whose names a checkpoint may hold"""
PLAIN = ("object", "set", "frozenset", "list", "dict", "tuple", "bytes", "bytearray", "str", "int", "float", "bool")
SINGLE = frozenset(
    ["_codecs.encode", "copyreg._reconstructor", "copy_reg._reconstructor"]
    + [f"{module}.{name}" for module in ("builtins", "__builtin__") for name in (*PLAIN, "complex", "slice", "range")]
)
"""the names that it may hold of other modules"""


def parse(path: Path) -> Any:
    """What a pickle holds, with a `Made` in place of everything but numbers, texts, bytes, lists, tuples and dicts.

    Large bytes are memoryviews of the file; see `inert_pickle`.

    Raises UserError: no such file, not a pickle, a damaged one, or one with a name that is refused.
    """
    try:
        if path.is_dir():
            raise UserError("is a folder: give the checkpoint file in it")
        if not path.is_file():
            raise UserError("does not exist or is no file: give a checkpoint of the original code")
        if not path.stat().st_size:
            raise UserError("is empty: give a checkpoint of the original code")
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return Reader(content, LIBRARIES, SINGLE, refers=False).run()
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend that, or give another file") from None
    except MALFORMED as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path} is damaged or no pickle ({reason}): give a checkpoint of the original code") from None
