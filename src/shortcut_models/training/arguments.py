"""What `fit` is called with: an argument of another kind gets one line that says what to pass."""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from torch import nn

from ..base import NetworkConfig, Objective, Task
from ..errors import UserError
from ..models.model import Model
from .options import Training

Args = ParamSpec("Args")
Result = TypeVar("Result")

NOUNS = ("network", "objective", "task")  # what is passed by position


class _Kind(NamedTuple):
    types: tuple[type, ...]
    text: str  # after "must be"


_NOTHING = type(None)
_MODEL = _Kind((Model, _NOTHING), "a trained Model, as load(PATH) returns it")
_KINDS = {
    "network": _Kind((NetworkConfig, nn.Module), "a configuration, such as sm.MLP(width=256), or a torch.nn.Module"),
    "objective": _Kind((Objective,), "a method, such as Shortcut()"),
    "task": _Kind((Task,), "a task, such as Digits()"),
    "training": _Kind((Training, _NOTHING), "a Training, such as Training(train_steps=2000)"),
    "run": _Kind((str, os.PathLike, _NOTHING), 'a directory, such as "runs/mine", or None to train in memory'),
    "recipe": _Kind((str,), "a name"),
    "teacher": _MODEL,
    "init": _MODEL,
    "callbacks": _Kind((list, tuple), "a list of callbacks"),
    "loggers": _Kind((list, tuple), 'a list of loggers, such as ["csv"]'),
}


def checked(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Make `fit` raise UserError for arguments of other kinds, which Python itself would take."""

    @functools.wraps(function)
    def call(*given: Args.args, **named: Args.kwargs) -> Result:
        if len(given) > len(NOUNS):
            raise UserError(
                "fit takes the network, the objective and the task by position, and all else by name: write "
                "fit(network, objective, task, run=..., training=...)"
            )
        for name, value in [*zip(NOUNS, given, strict=False), *named.items()]:
            if name in _KINDS and not isinstance(value, _KINDS[name].types):
                raise UserError(f"{name} must be {_KINDS[name].text}, not {_in_words(value)}")
        return function(*given, **named)

    return call


def _in_words(value: Any) -> str:
    """Return what an argument is instead, and what to do where that is plain."""
    if isinstance(value, type):
        return f"the class {value.__name__}: call it, {value.__name__}()"
    if isinstance(value, (NetworkConfig, nn.Module, Objective, Task)):
        return f"{type(value).__name__}(...): the order is {', '.join(NOUNS)}"
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, (str, dict, list, tuple)):
        return f"a data set ({type(value).__name__}): wrap it, FromDataset(...)"
    return f"{value!r:.60}"
