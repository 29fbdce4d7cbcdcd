"""From a part of a model to the words that name it in a file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import from_dict, to_dict
from ..errors import UserError


def describe(part: Any, registry: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a model as JSON values: its registered name and its fields.

    A part from outside the package has the name None, and its class for the reader's sake: it cannot be rebuilt
    from the file (a class named in a file is never imported), and is passed to `load` instead.
    """
    name = next((name for name, cls in registry.items() if cls is type(part)), None)
    if name is None:
        return {"name": None, "class": f"{type(part).__module__}.{type(part).__qualname__}"}
    return {"name": name, **to_dict(part)}


def rebuild(kind: str, entry: dict[str, Any], registry: Mapping[str, Any], given: Any) -> Any:
    """The part that `describe` described, or the one given in its place."""
    if given is not None:
        return given
    name, fields = entry.get("name"), {key: value for key, value in entry.items() if key != "name"}
    if name is None:
        raise UserError(
            f"this model's {kind} is {entry.get('class')}, from outside the package: pass load(..., {kind}=...)"
        )
    if name not in registry:
        raise UserError(
            f"this model's {kind} {name!r} is unknown: use the script that defines it, pass load(..., {kind}=...), or "
            f"update shortcut-models"
        )
    return from_dict(registry[name], fields)
