"""One network, trained once, that generates in 1, 2, 4, ... 128 steps: shortcut models in PyTorch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .system.threads import prepare as _prepare_threads

if TYPE_CHECKING:
    from .base import Batch, Frames, Label, Losses, Network, NetworkConfig, Objective, Task, Vector
    from .errors import Stopped, UserError
    from .evaluation.evaluate import evaluate
    from .models.loading import load
    from .models.model import Model
    from .policies.policy import Policy
    from .training.callbacks import Callback
    from .training.fit import fit
    from .training.options import Training

_prepare_threads()  # before any module imports torch

_MODULES = {
    "base": ("Batch", "Frames", "Label", "Losses", "Network", "NetworkConfig", "Objective", "Task", "Vector"),
    "errors": ("Stopped", "UserError"),
    "evaluation.evaluate": ("evaluate",),
    "models.loading": ("load",),
    "models.model": ("Model",),
    "policies.policy": ("Policy",),
    "training.callbacks": ("Callback",),
    "training.fit": ("fit",),
    "training.options": ("Training",),
}
"""the public names, by the module that defines them"""

__all__ = [
    "Batch", "Callback", "Frames", "Label", "Losses", "Model", "Network", "NetworkConfig", "Objective", "Policy",
    "Stopped", "Task", "Training", "UserError", "Vector", "__version__", "evaluate", "fit", "load",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `shortcut --help` does not wait for torch."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
