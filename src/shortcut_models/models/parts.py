"""From a task, an objective or a network's configuration to the words that name it in a file, and back."""

from collections.abc import Mapping
from typing import Any

from ..config import from_dict, to_dict
from ..errors import UserError
from ..networks import NETWORKS
from ..objectives import OBJECTIVES
from ..tasks import TASKS

REGISTRIES: dict[str, Mapping[str, Any]] = {"task": TASKS, "network": NETWORKS, "objective": OBJECTIVES}
"""the names of each kind of part"""


def describe(part: Any) -> dict[str, Any]:
    """Return a task, an objective or the configuration of a network as JSON values: its name and its fields.

    A part from outside the package has the name None, and its class for the reader's sake: it cannot be rebuilt
    from the file (a class named in a file is never imported), and is passed to `load` instead.
    """
    part = getattr(part, "wrapped", part)  # the module inside a network, see `networks.wrapped`
    for registry in REGISTRIES.values():
        for name, cls in registry.items():
            if cls is type(part):
                return {"name": name, **to_dict(part)}
    return {"name": None, "class": f"{type(part).__module__}.{type(part).__qualname__}"}


def rebuild(kind: str, entry: dict[str, Any], given: Any) -> Any:
    """Return the part that `describe` described, or the one given in its place; kind: task, network or objective."""
    if given is not None:
        return given
    registry, name, advice = REGISTRIES[kind], entry.get("name"), f"pass load(..., {kind}=...)"
    if name is None:
        raise UserError(f"this model's {kind} is {entry.get('class')}, from outside the package: {advice}")
    if name not in registry:
        advice = f"use the script that defines it, {advice}, or update shortcut-models"
        raise UserError(f"this model's {kind} {name!r} is unknown: {advice}")
    return from_dict(registry[name], {key: value for key, value in entry.items() if key != "name"})
