"""MuJoCo, and its pictures without a screen."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from types import ModuleType

from ...errors import UserError, first_line

BACKEND = "MUJOCO_GL"
"""the variable by which MuJoCo is told how to draw"""
DRAWN_BY = "on Debian, install libegl1, libegl-mesa0 and libgl1-mesa-dri for egl, or libosmesa6 for osmesa"


def import_module(name: str, otherwise: str) -> ModuleType:
    """Import a package that needs MuJoCo; nothing has to be able to draw, unless MUJOCO_GL asks for something.

    Raises UserError that says `otherwise` where the package is missing, and what to do where MUJOCO_GL stops MuJoCo.
    """
    if importlib.util.find_spec("mujoco") is None or importlib.util.find_spec(name) is None:
        raise UserError(otherwise)
    before = os.environ.get(BACKEND)
    try:
        importlib.import_module("mujoco")
    except Exception as error:
        raise UserError(
            f"MuJoCo fails with {BACKEND}={before} ({first_line(error)}): unset it, or, {DRAWN_BY}"
        ) from None
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{otherwise} ({first_line(error)})") from None
    finally:  # robosuite sets it, and would so stop MuJoCo in the processes begun from here where EGL is missing
        if before is None:
            os.environ.pop(BACKEND, None)


@functools.cache
def prepare() -> None:
    """Choose how MuJoCo draws in this process: as MUJOCO_GL says, else by EGL, on a GPU or without one by Mesa.

    Where it is not Linux, MuJoCo knows by itself. Raises UserError, with what to install, where nothing can draw.
    """
    if sys.platform != "linux":
        return
    backend = os.environ.setdefault(BACKEND, "egl")
    try:
        importlib.import_module(f"mujoco.{backend}").GLContext(16, 16).free()
    except Exception as error:  # each way to draw, and each thing that it misses, fails in a manner of its own
        raise UserError(
            f"no picture can be drawn with {BACKEND}={backend} ({first_line(error)}): {DRAWN_BY}, and set {BACKEND}"
        ) from None
