"""One network, trained once, that generates in 1, 2, 4, ... 128 steps: shortcut models in PyTorch.

The public names are in `__init__.pyi`.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

from .system.threads import prepare as _prepare_threads

_prepare_threads()  # before any module imports torch


def _read_stub() -> dict[str, tuple[str, str]]:
    """Return the public names, each with the module that defines it and its name there; "": the module itself."""
    imported, public = dict[str, tuple[str, str]](), dict[str, tuple[str, str]]()
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                imported[each.name] = f"{'.' * node.level}{node.module or each.name}", each.name * bool(node.module)
                if each.asname:
                    public[each.asname] = imported[each.name]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            public |= {target.id: imported[node.value.id] for target in node.targets if isinstance(target, ast.Name)}
    return public


_PLACES = _read_stub()
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `shortcut --help` does not wait for torch."""
    if name in _PLACES:
        module, original = _PLACES[name]
        found = importlib.import_module(module, __name__)
        return getattr(found, original) if original else found
    hint = ""
    if not name.startswith("_"):
        from .config import closest, did_you_mean

        hint = did_you_mean(closest(name, __all__))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{': ' * bool(hint)}{hint}")


def __dir__() -> list[str]:
    return sorted(__all__)
