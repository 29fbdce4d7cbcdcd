"""Environments from outside the package, by name: the id of one of Gymnasium, or module:factory."""

import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config import closest, did_you_mean
from ...errors import UserError, first_line
from .base import Environment
from .gymnasium import GymEnvironment, is_registered, make

_ENGINES = {"mujoco": ("mujoco",), "box2d": ("box2d", "box2d-py")}
"""packages behind Gymnasium's own environments, by a part of their modules' names"""


def open_own(
    name: str, observations: Sequence[str] | None, score: str | None, max_episode_steps: int | None
) -> Environment:
    """Return an environment from outside the package.

    Args:
        name: an id that is registered with Gymnasium; module:factory, a function or class that returns an environment
            of Gymnasium, or one of ours; or module:id, where importing the module registers the id. The module is in
            the current folder, or installed. A factory gets `render_mode` and `observations` if it has such parameters.
        observations: as for `open_environment`.
        score, max_episode_steps: as for `GymEnvironment`.

    Raises:
        UserError: it cannot be imported or made, or is not an environment.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        return _finished(make(name), name, observations, score, max_episode_steps)
    imported = _import(module, name)
    if not hasattr(imported, attribute) and is_registered(attribute):
        return _finished(make(attribute), name, observations, score, max_episode_steps, module)
    made = _call(_factory(imported, attribute), name, observations)
    return _finished(made, name, observations, score, max_episode_steps, module)


def _finished(
    made: Any, name: str, observations: Sequence[str] | None, score: str | None, max_episode_steps: int | None,
    *modules: str,
) -> Environment:  # fmt: skip
    """Return what a factory made as one of our environments, with the packages and sources that it depends on."""
    if isinstance(made, Environment):
        check_without(name, score, max_episode_steps)
        found = made
        own = type(made).__module__
    else:
        found = GymEnvironment(made, observations, name=name, score=score, max_episode_steps=max_episode_steps)
        own = type(made.unwrapped).__module__
    engines = [package for part, packages in _ENGINES.items() if part in own for package in packages]
    found.packages = (*found.packages, *_packages({own, *modules}), *engines)  # type: ignore[misc]
    found.sources = {each: digest for each in (own, *modules) if (digest := _digest(each))}
    return found


def check_without(name: str, score: str | None, max_episode_steps: int | None) -> None:
    """Raise UserError for an option that an environment of our own kind does not have."""
    for option, value in (("score", score), ("max-episode-steps", max_episode_steps)):
        if value is not None:
            raise UserError(f"{name} has its own score and time limit: leave --{option} out")


def _import(module: str, name: str) -> Any:
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"environment {name!r} is not MODULE:FACTORY as Python imports it, such as my_robot:make_env")
    if (here := os.getcwd()) not in sys.path:  # as `python -m` does; processes that this one starts have its path, too
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise UserError(
                f"the module {error.name!r} of the environment {name} does not exist: run the command in the folder "
                f"that holds it, or install it"
            ) from None
        raise UserError(f"{module} cannot be imported, for the environment {name}: {first_line(error)}") from None
    except Exception as error:  # of the user's own code
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{module} cannot be imported, for the environment {name}: {reason}") from None


def _factory(module: Any, attribute: str) -> Callable[..., Any]:
    known = {
        key: value for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", "") == module.__name__
    }  # fmt: skip
    found = getattr(module, attribute, None)
    if found is None:
        hint = did_you_mean(closest(attribute, known))
        ways = f"choose one of {', '.join(known)}" if known else "write a function that returns the environment"
        raise UserError(f"{module.__name__} does not have {attribute!r}: {hint}{' ' * bool(hint)}{ways}")
    if not callable(found):
        raise UserError(
            f"{module.__name__}:{attribute} is {type(found).__qualname__}, not a function or class that returns an "
            f"environment: choose another, or write one"
        )
    return found


def _call(factory: Callable[..., Any], name: str, observations: Sequence[str] | None) -> Any:
    """Return what a factory makes, with the arguments of ours that it takes."""
    try:
        parameters = set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        parameters = set()
    ours = {"render_mode": "rgb_array", "observations": observations}
    try:
        return factory(**{key: value for key, value in ours.items() if key in parameters})
    except UserError:
        raise
    except Exception as error:  # of the user's own code
        raise UserError(f"{name} fails: {type(error).__name__}: {first_line(error)}") from None


def _packages(modules: set[str]) -> tuple[str, ...]:
    """Return the installed packages that hold some modules."""
    roots = {module.partition(".")[0] for module in modules}
    known = _distributions()
    return tuple(sorted({"gymnasium", *(package for root in roots for package in known.get(root, ()))}))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _digest(module: str) -> str:
    """Return a hash of a module's file, "" for one of Gymnasium, or without a file."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.partition(".")[0] == "gymnasium" or not file or not Path(file).is_file():
        return ""
    return f"sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}"
