"""Code of the documentation, made short enough for a test."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType


def load_file(path: Path, name: str) -> ModuleType:
    """Run a file as a module of a name, and return it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def shortened(code: str) -> str:
    """Return code whose trainings take three steps, with small MLPs and few samples."""
    code = re.sub(r"\btrain_steps=\d+", "train_steps=3", code)
    code = re.sub(r"\bMLP(Config)?\(width=\d+", r"MLP\1(width=16", code)
    code = re.sub(r"(\btrain\(\S+ steps)=\d+", r"\1=3", code)
    code = re.sub(r"\brange\(2000\)", "range(3)", code)
    return re.sub(r"\bnum=\d+", "num=20", code)
