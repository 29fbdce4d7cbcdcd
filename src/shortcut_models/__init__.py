"""One network, trained once, that generates in 1, 2, 4, ... 128 steps: shortcut models in PyTorch.

The public names are in `__init__.pyi`.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

from .system.threads import prepare as _prepare_threads

_prepare_threads()  # before any module imports torch

_IMPORTS: dict[str, tuple[str, str]] = {}  # a name of the stub: the module that defines it, and its name there
_PLACES: dict[str, tuple[str, str]] = {}  # those that are public
for _node in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body:
    if isinstance(_node, ast.ImportFrom):
        for _name in _node.names:
            _IMPORTS[_name.name] = f"{'.' * _node.level}{_node.module or _name.name}", _name.name * bool(_node.module)
            if _name.asname:
                _PLACES[_name.asname] = _IMPORTS[_name.name]
    elif isinstance(_node, ast.Assign) and isinstance(_node.value, ast.Name):
        _PLACES |= {target.id: _IMPORTS[_node.value.id] for target in _node.targets if isinstance(target, ast.Name)}

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
