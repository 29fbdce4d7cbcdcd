"""Importing MuJoCo, and drawing with it without a screen."""

import functools
import importlib
import importlib.util
import os
import sys
from types import ModuleType

from ...errors import UserError, first_line

BACKEND = "MUJOCO_GL"  # the environment variable that chooses how MuJoCo draws
INSTALL = "on Debian, install libegl1, libegl-mesa0 and libgl1-mesa-dri for egl, or libosmesa6 for osmesa"


def import_module(name: str, missing: str) -> ModuleType:
    """Import a package that needs MuJoCo, or raise UserError, with the message `missing` where it is not installed.

    Drawing need not work unless MUJOCO_GL is set.
    """
    if importlib.util.find_spec("mujoco") is None or importlib.util.find_spec(name) is None:
        raise UserError(missing)
    before = os.environ.get(BACKEND)
    try:
        importlib.import_module("mujoco")
    except Exception as error:
        raise UserError(
            f"MuJoCo fails with {BACKEND}={before} ({first_line(error)}): unset it, or, {INSTALL}"
        ) from None
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{missing} ({first_line(error)})") from None
    finally:
        # robosuite sets the variable, which would break MuJoCo in child processes where EGL is missing.
        if before is None:
            os.environ.pop(BACKEND, None)


@functools.cache
def prepare() -> None:
    """Choose how MuJoCo draws in this process: with MUJOCO_GL, else with EGL on a GPU or Mesa."""
    if sys.platform != "linux":  # elsewhere MuJoCo chooses by itself
        return
    backend = os.environ.setdefault(BACKEND, "egl")
    try:
        importlib.import_module(f"mujoco.{backend}").GLContext(16, 16).free()
    except Exception as error:  # each backend, and each library that it lacks, fails with its own exception
        raise UserError(
            f"cannot draw a picture with {BACKEND}={backend} ({first_line(error)}): {INSTALL}, and set {BACKEND}"
        ) from None
