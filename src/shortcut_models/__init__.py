"""One network, trained once, that generates in 1, 2, 4, ... 128 steps: shortcut models in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .base import Batch, Frames, Label, Losses, Network, NetworkConfig, Objective, Task, Vector
    from .errors import Stopped, UserError
    from .evaluation import evaluate
    from .loading import load
    from .model import Model
    from .train import fit
    from .training import Training

_WHERE = {
    "base": ("Batch", "Frames", "Label", "Losses", "Network", "NetworkConfig", "Objective", "Task", "Vector"),
    "errors": ("Stopped", "UserError"),
    "evaluation": ("evaluate",),
    "loading": ("load",),
    "model": ("Model",),
    "train": ("fit",),
    "training": ("Training",),
}
__all__ = [
    "Batch",
    "Frames",
    "Label",
    "Losses",
    "Model",
    "Network",
    "NetworkConfig",
    "Objective",
    "Stopped",
    "Task",
    "Training",
    "UserError",
    "Vector",
    "__version__",
    "evaluate",
    "fit",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `shortcut --help` need not wait for torch."""
    import importlib

    for module, names in _WHERE.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
