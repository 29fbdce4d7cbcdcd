"""One network, trained once, that generates in 1, 2, 4, ... 128 steps: shortcut models in PyTorch.

The public names are in `__init__.pyi`.
"""

import importlib
import re
from pathlib import Path
from typing import Any

from .system.threads import prepare as _prepare_threads

_prepare_threads()  # before any module imports torch

_STUB = Path(__file__).with_suffix(".pyi").read_text()
_IMPORTS = {
    name: module
    for module, names in re.findall(r"^from (\S+) import (.+)$", _STUB, re.MULTILINE)
    for name in re.findall(r"(\w+)(?: as \w+)?", names)
}
_PLACES = {name: (_IMPORTS[name], name) for name in re.findall(r"\w+(?= as )", _STUB)}
_PLACES |= {name: (_IMPORTS[other], other) for name, other in re.findall(r"^(\w+) = (\w+)$", _STUB, re.MULTILINE)}
"""the public names, each with the module that defines it and its name there"""

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `shortcut --help` does not wait for torch."""
    if name in _PLACES:
        module, original = _PLACES[name]
        return getattr(importlib.import_module(module, __name__), original)
    hint = ""
    if not name.startswith("_"):
        from .config import closest, did_you_mean

        hint = did_you_mean(closest(name, __all__))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{': ' * bool(hint)}{hint}")


def __dir__() -> list[str]:
    return sorted(__all__)
