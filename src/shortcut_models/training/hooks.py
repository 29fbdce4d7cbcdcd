"""The callbacks that a user passes: any object with some of the five methods, and what happens where one raises."""

from collections.abc import Callable, Sequence
from typing import Any

from ..config import closest, did_you_mean
from ..errors import CallbackError, Stopped, UserError, first_line
from .callbacks import Callback
from .loggers import Line
from .quality import Results
from .trainer import Trainer

EVENTS = ("on_step", "on_log", "on_evaluate", "on_save", "on_end")


def as_callbacks(given: Sequence[Any]) -> list[Callback]:
    """Return callbacks from any objects that have one of the five methods.

    Raises:
        UserError: an object has none of them, or a method `on_...` that is not one of them and would never be called.
    """
    # Those of the package itself raise errors of their own.
    return [
        each if type(each).__module__.startswith(f"{__package__.partition('.')[0]}.") else Hook(each) for each in given
    ]


class Hook(Callback):
    """A user's callback. An error in it ends the training after the run has been saved."""

    def __init__(self, given: Any) -> None:
        check(given)
        self.given, self.name = given, type(given).__qualname__

    def on_step(self, trainer: Trainer) -> None:
        """Call the user's method."""
        self._call("on_step", trainer)

    def on_log(self, trainer: Trainer, line: Line) -> None:
        """Call the user's method."""
        self._call("on_log", trainer, line)

    def on_evaluate(self, trainer: Trainer, results: Results) -> None:
        """Call the user's method."""
        self._call("on_evaluate", trainer, results)

    def on_save(self, trainer: Trainer) -> None:
        """Call the user's method."""
        self._call("on_save", trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Call the user's method."""
        self._call("on_end", trainer)

    def _call(self, event: str, trainer: Trainer, *more: Any) -> None:
        method: Callable[..., object] | None = getattr(self.given, event, None)
        if method is None:
            return
        try:
            method(trainer, *more)
        except (UserError, Stopped):  # which say themselves what to do
            trainer.save()
            raise
        except Exception as error:
            kept = {
                True: f"the run is saved at step {trainer.step}, and resumes from there",
                False: "the run resumes from its last checkpoint",
                None: "nothing is saved, as the training has no run",
            }[trainer.save()]
            raise CallbackError(
                f"callback {self.name} raised {type(error).__name__} in {event} after step {trainer.step} "
                f"({first_line(error)}): {kept}"
            ) from error


def check(given: Any) -> None:
    """Raise UserError for an object that would never be called, or not for all that it seems to be."""
    name = getattr(given, "__name__", type(given).__name__)
    if isinstance(given, type):
        raise UserError(f"callback {name} is a class: call it, {name}()")
    methods = [each for each in dir(given) if each.startswith("on_") and callable(getattr(given, each, None))]
    for method in methods:
        if method not in EVENTS:
            hint = did_you_mean(closest(method, EVENTS)) or f"choose one of {', '.join(EVENTS)}"
            raise UserError(f"callback {name} has a method {method}, which is never called: {hint}")
    if not methods:
        raise UserError(f"callback {name} has no method that is called: give it one of {', '.join(EVENTS)}")
