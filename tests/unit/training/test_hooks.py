"""The callbacks of a user: any object with some of the five methods; where one raises, the run is saved first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.runs import same, steps_of, tensors
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, at, nan_loss
from shortcut_models import Callback, Training, UserError, fit
from shortcut_models.errors import CallbackError

OPTIONS: dict[str, Any] = {"log_every": 3, "checkpoint_every": 5, "heldout_every": 99, "sample_every": 99, "keep": 9}


def go(run: Path | None, *callbacks: Any, objective: Any = None, **options: Any) -> Any:
    training = Training(**{**vars(TRAINING), **OPTIONS, **options})
    return fit(
        Scale(), objective or Regress(), Line(), run=run, training=training, callbacks=list(callbacks), quiet=True
    )


class Raise:
    """Not a subclass of anything."""

    def __init__(self, event: str, step: int, error: Exception | None = None) -> None:
        self.step, self.error = step, error or ZeroDivisionError("division\nby zero")
        setattr(self, event, self.act)

    def act(self, trainer: Any, *more: Any) -> None:
        if trainer.step == self.step:
            raise self.error


def test_any_object_with_one_of_the_methods_is_called(tmp_path: Path) -> None:
    class Ends:
        def on_end(self, trainer: Any) -> None:
            self.step = trainer.step

    class Adds:
        def on_log(self, trainer: Any, line: dict[str, float]) -> None:
            line["twice"] = 2.0 * trainer.step

    ends = Ends()
    go(tmp_path, ends, Adds())
    assert ends.step == 12
    assert '"twice": 24.0' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize(("event", "step"), [("on_step", 7), ("on_log", 6), ("on_save", 5), ("on_end", 12)])
def test_the_run_is_saved_before_an_error_ends_it(event: str, step: int, tmp_path: Path) -> None:
    with pytest.raises(CallbackError) as caught:
        go(tmp_path / "run", Raise(event, step))
    assert str(caught.value) == (
        f"callback Raise raised ZeroDivisionError in {event} after step {step} (division): the run is saved at step "
        f"{step}, and resumes from there"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.__cause__.__traceback__ is not None
    assert steps_of(tmp_path / "run")[-1] == step
    go(tmp_path / "run")
    go(tmp_path / "straight")
    assert same(tensors(tmp_path / "run"), tensors(tmp_path / "straight"))


def test_weights_that_may_be_bad_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(CallbackError, match="the run resumes from its last checkpoint"):
        go(tmp_path, Raise("on_step", 7), objective=Regress(before=at({7}, nan_loss)))
    assert steps_of(tmp_path) == [5]


def test_in_memory_there_is_nothing_to_save() -> None:
    with pytest.raises(CallbackError, match="nothing is saved, as the training has no run"):
        go(None, Raise("on_step", 7))


def test_what_a_callback_refuses_is_said_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no room: choose another folder$"):
        go(tmp_path, Raise("on_step", 7, UserError("no room: choose another folder")))
    assert steps_of(tmp_path) == [5, 7]


class Misspelt(Callback):
    def on_steps(self, trainer: Any) -> None: ...


class Lightning:
    def on_train_batch_end(self, trainer: Any) -> None: ...


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (Misspelt(), r"callback Misspelt has a method on_steps, which is never called: did you mean on_step\?"),
        (Lightning(), "has a method on_train_batch_end, which is never called: choose one of on_step, on_log"),
        (object(), "callback object has no method that is called: give it one of on_step"),
        (print, "callback print has no method that is called"),
        (Lightning, r"callback Lightning is a class: call it, Lightning\(\)"),
    ],
)
def test_what_would_never_be_called_is_refused(callback: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        go(tmp_path / "run", callback)
    assert not (tmp_path / "run").exists()
