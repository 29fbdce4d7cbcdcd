"""Loggers get every line of the log, offline, and a logger that fails does not end the training."""

from __future__ import annotations

import csv
import importlib.machinery
import json
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.runs import same, shortcut, tensors, train
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, lines
from shortcut_models import Training, UserError, fit
from shortcut_models.training.loggers import CSV, LOGGERS, Logger, TensorBoard, Trackio, WandB

OPTIONS: dict[str, Any] = {"log_every": 3, "checkpoint_every": 5, "heldout_every": 4, "sample_every": 6}


def go(run: Path | None, *loggers: Any, callbacks: Any = (), **options: Any) -> Any:
    training = Training(**{**vars(TRAINING), **OPTIONS, **options})
    return fit(
        Scale(), Regress(), Line(), run=run, training=training, loggers=list(loggers), callbacks=callbacks, quiet=True
    )


class Recorder(Logger):
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.lines: list[dict[str, float]] = []

    def start(self, run: Any, config: Any, step: int) -> None:
        self.events.append(("start", step))
        self.config = config

    def log(self, step: int, line: Any) -> None:
        assert line["step"] == step
        self.events.append(("log", step))
        self.lines.append(line)

    def image(self, step: int, name: str, image: Image.Image) -> None:
        self.events.append(("image", step))

    def close(self) -> None:
        self.events.append(("close", None))


def test_a_logger_gets_what_metrics_jsonl_has(tmp_path: Path) -> None:
    mine = Recorder()
    go(tmp_path, mine)
    assert mine.lines == lines(tmp_path)
    logged = [3, 4, 5, 6, 8, 9, 10, 12]
    assert [step for event, step in mine.events if event == "log"] == logged
    assert [step for event, step in mine.events if event == "image"] == [6, 12]
    assert (mine.events[0], mine.events[-1]) == (("start", 0), ("close", None))
    assert mine.config["training"]["train_steps"] == 12
    in_memory = Recorder()
    go(None, in_memory)
    keys = lambda each: [{name: line[name] for name in ("step", "loss")} for line in each.lines]
    assert keys(in_memory) == keys(mine)


def test_a_logger_may_have_one_method_only() -> None:
    class Least:
        steps: list[int] = []  # noqa: RUF012  # one test

        def log(self, step: int, line: Any) -> None:
            self.steps.append(step)

    go(None, Least())
    assert Least.steps[-1] == 12


def test_a_table_has_every_figure_and_resumes(tmp_path: Path) -> None:
    rows = lambda: list(csv.DictReader((tmp_path / "metrics.csv").open()))
    expected = lambda: [{name: float(value) for name, value in line.items()} for line in lines(tmp_path)]
    filled = lambda: [{name: float(value) for name, value in row.items() if value} for row in rows()]

    class End:
        def on_step(self, trainer: Any) -> None:
            if trainer.step == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, "csv", callbacks=[End()])
    assert [row["step"] for row in rows()] == ["3", "4", "5", "6"]
    go(tmp_path, "csv")
    assert filled() == expected()
    assert [row["step"] for row in rows()] == ["3", "4", "5", "6", "8", "9", "10", "12"]
    assert "heldout_loss" in rows()[0]
    go(None, CSV(tmp_path / "other.csv"))
    assert (tmp_path / "other.csv").read_text().count("\n") == 9


class Broken(Recorder):
    def __init__(self, at: str, error: Exception | None = None) -> None:
        super().__init__()
        self.at, self.error = at, error or ConnectionError("the server\nis gone")

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("start", "log", "image", "close") and name == super().__getattribute__("at"):

            def fail(*arguments: Any) -> None:
                found(*arguments)
                raise super(Broken, self).__getattribute__("error")

            return fail
        return found


@pytest.mark.parametrize(("at", "calls"), [("log", 1), ("image", 4), ("close", 8)])
def test_a_connection_that_is_lost_is_one_warning_and_training_continues(at: str, calls: int, tmp_path: Path) -> None:
    broken, other = Broken(at), Recorder()
    with pytest.warns(UserWarning, match="logger Broken failed") as caught:
        model = go(tmp_path / "with", broken, other)
    (message,) = {str(each.message) for each in caught}
    assert len(caught) == 1
    assert message == "logger Broken failed (ConnectionError: the server): training continues without it"
    assert len(broken.lines) == calls
    assert broken.events[-1] == ("close", None)
    assert other.lines == lines(tmp_path / "with")
    assert model.step == 12
    go(tmp_path / "without")
    assert same(tensors(tmp_path / "with"), tensors(tmp_path / "without"))


def test_a_logger_that_does_not_start_ends_before_a_step_is_taken(tmp_path: Path) -> None:
    other = Recorder()
    with pytest.raises(UserError, match=r"logger Broken does not start \(ConnectionError: the server\)") as caught:
        go(tmp_path, other, Broken("start"))
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert other.events == [("start", 0), ("close", None)]
    assert not (tmp_path / "checkpoints").exists()
    assert go(tmp_path).step == 12


class Misspelt:
    def logg(self, step: int, line: Any) -> None: ...


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("tensorbord", "there is no logger 'tensorbord': did you mean tensorboard"),
        (Recorder, r"logger Recorder is a class: call it, Recorder\(\)"),
        (Misspelt(), "does not have a method log.*logg is never called"),
        (object(), "logger object does not have a method log"),
        (CSV(), "logger csv writes into a run: pass run"),
        ("tensorboard", "logger tensorboard writes into a run: pass run"),
    ],
)
def test_what_is_not_a_logger_is_refused(logger: Any, message: str) -> None:
    if logger == "tensorboard":
        pytest.importorskip("tensorboard")
    with pytest.raises(UserError, match=message):
        go(None, logger)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_an_extra_that_is_missing_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None)
    with pytest.raises(UserError, match=rf"logger {name} needs an extra: pip install 'shortcut-models\[{name}\]'"):
        go(tmp_path / "run", name)
    assert not (tmp_path / "run").exists()


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(members, __spec__=importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, name, module)


def test_weights_and_biases_gets_the_lines_and_continues_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, Any]] = []

    class FakeRun:
        def define_metric(self, name: str, step_metric: str) -> None:
            calls.append(("define", (name, step_metric)))

        def log(self, line: Any) -> None:
            calls.append(("log", line))

        def finish(self) -> None:
            calls.append(("finish", None))

    def init(**options: Any) -> FakeRun:
        calls.append(("init", options))
        return FakeRun()

    fake(monkeypatch, "wandb", init=init, Image=lambda picture: ("image", picture.size))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    go(tmp_path / "mine", "wandb", WandB("other", mode="offline"), train_steps=6)
    first, other = (options for name, options in calls if name == "init")
    assert (first["project"], first["name"], first["resume"]) == ("shortcut-models", "mine", "allow")
    assert first["config"]["objective"]["class"].endswith("Regress")
    assert (other["project"], other["mode"], other["id"]) == ("other", "offline", first["id"])
    assert calls[1] == ("define", ("*", "step"))
    figures = [line for name, line in calls if name == "log" and "loss" in line]
    assert figures[::2] == lines(tmp_path / "mine") == figures[1::2]
    pictures = [line for name, line in calls if name == "log" and "samples" in line]
    assert [(line["step"], line["samples"][0]) for line in pictures] == [(6, "image")] * 2
    assert calls[-2:] == [("finish", None)] * 2
    calls.clear()
    go(tmp_path / "mine", "wandb", train_steps=12)
    assert calls[0][1]["id"] == first["id"]
    calls.clear()
    go(None, "wandb", train_steps=2)
    assert set(calls[0][1]) == {"project", "config"}


def test_trackio_gets_the_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, Any]] = []
    fake(
        monkeypatch, "trackio", init=lambda **options: calls.append(("init", options)),
        log=lambda line, step: calls.append(("log", (step, line))), finish=lambda: calls.append(("finish", None)),
    )  # fmt: skip
    go(tmp_path / "mine", "trackio", train_steps=6)
    assert {**calls[0][1], "config": 0} == {
        "project": "shortcut-models", "name": "mine", "resume": "never", "config": 0
    }  # fmt: skip
    assert [{"step": step, **line} for _, (step, line) in calls[1:-1]] == lines(tmp_path / "mine")
    assert calls[-1] == ("finish", None)
    go(tmp_path / "mine", Trackio("other", space_id="me/board"), train_steps=12)
    second = [options for name, options in calls if name == "init"][1]
    assert (second["project"], second["space_id"], second["resume"]) == ("other", "me/board", "allow")


def test_tensorboard_gets_figures_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    go(tmp_path / "run", TensorBoard())
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for name in ("loss", "gradient_norm", "heldout_loss"):
        expected = [(line["step"], pytest.approx(line[name])) for line in lines(tmp_path / "run") if name in line]
        assert [(event.step, event.value) for event in events.Scalars(name)] == expected
    assert [event.step for event in events.Images("samples")] == [6, 12]


def test_the_command_chooses_loggers_by_name(tmp_path: Path) -> None:
    train(tmp_path / "run", "--loggers", "csv")
    assert [row["step"] for row in csv.DictReader((tmp_path / "run" / "metrics.csv").open())] == ["12"]
    assert "loggers" not in json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    refused = shortcut("train", "digits", "--run", tmp_path / "other", "--loggers", "csvs")
    assert (refused.code, "there is no logger 'csvs': did you mean csv?" in refused.complaint) == (2, True)
    old = shortcut("train", "digits", "--run", tmp_path / "other", "--tensorboard")
    assert "there is no option --tensorboard: did you mean --loggers?" in old.complaint
    assert set(LOGGERS) == {"csv", "tensorboard", "wandb", "trackio"}
    assert not (tmp_path / "other").exists()


def test_no_warning_comes_from_loggers_that_work() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(None, Recorder())
