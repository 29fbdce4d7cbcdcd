"""The methods, by name. A new one is a file here and a line below."""

from ..base import Objective
from .flow import FlowMatching
from .shortcut import Shortcut

OBJECTIVES: dict[str, type[Objective]] = {
    "flow": FlowMatching,
    "shortcut": Shortcut,
}

__all__ = ["OBJECTIVES", "FlowMatching", "Shortcut"]
