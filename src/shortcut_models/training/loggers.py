"""Where the lines of the log go beside metrics.jsonl: a CSV file, TensorBoard, Weights & Biases, trackio, or your own.

Each has an extra but the first. Loggers run in the main process alone.
"""

import csv
import importlib
import importlib.util
import io
import os
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..config import choose, closest
from ..errors import UserError, first_line
from ..models.run import Run
from ..system.files import write_atomically

Line = dict[str, float | int]  # Figures by their names, as a line of metrics.jsonl holds them.
PROJECT = "shortcut-models"


class Logger:
    """Sends the lines of the log somewhere. Override what is wanted; any object with a method `log` will do."""

    extra = ""  # what it needs: the name of an extra, and of the package that this installs

    def start(self, run: Run | None, config: Mapping[str, Any], step: int) -> None:
        """Begin. run: the run's files, None in memory; config: the run's configuration; step: the steps taken."""

    def log(self, step: int, line: Line) -> None:
        """Send the figures of a step; all are finite numbers."""

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Send a picture of samples."""

    def close(self) -> None:
        """End; also after an error."""


class CSV(Logger):
    """A table with a line for each step that is logged, and a column for each figure: RUN/metrics.csv."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = path

    def start(self, run: Run | None, config: Mapping[str, Any], step: int) -> None:
        """Keep the rows up to a step, which the run resumes from."""
        self.file = _place(self.path, run, "metrics.csv", "csv")
        kept = self._rows() if self.file.exists() else []
        self._write([row for row in kept if int(row["step"]) <= step] if step else [])

    def log(self, step: int, line: Line) -> None:
        """Append a row; a figure that is new makes the table wider."""
        if set(line) <= set(self.columns):
            text = io.StringIO()
            csv.DictWriter(text, self.columns, lineterminator="\n").writerow(line)
            with open(self.file, "a") as file:
                file.write(text.getvalue())
        else:
            self._write([*self._rows(), {name: str(value) for name, value in line.items()}])

    def _rows(self) -> list[dict[str, str]]:
        with open(self.file, newline="") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: list[dict[str, str]]) -> None:
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.file, text.getvalue().encode())


class TensorBoard(Logger):
    """Event files for TensorBoard: RUN/tensorboard."""

    extra = "tensorboard"

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = folder

    def start(self, run: Run | None, config: Mapping[str, Any], step: int) -> None:
        """Open the files; TensorBoard leaves out what an earlier attempt wrote of later steps."""
        folder = _place(self.folder, run, "tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, step: int, line: Line) -> None:
        """Write each figure as a scalar."""
        for name, value in line.items():
            self.writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Write a picture."""
        self.writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Close the files."""
        self.writer.close()


class WandB(Logger):
    """Weights & Biases. A run that resumes continues there, too.

    Args:
        project: the project; "" is that of WANDB_PROJECT, or "shortcut-models".
        options: of `wandb.init`, such as mode="offline".
    """

    extra = "wandb"

    def __init__(self, project: str = "", **options: Any) -> None:
        self.project, self.options = project or os.environ.get("WANDB_PROJECT", PROJECT), options

    def start(self, run: Run | None, config: Mapping[str, Any], step: int) -> None:
        """Begin a run of W&B, or continue the one whose identifier is in RUN/wandb."""
        wandb = importlib.import_module("wandb")
        self.picture = wandb.Image
        place: dict[str, Any] = {}
        if run is not None:
            note = run.path / "wandb" / "shortcut-models-id.txt"
            if not note.exists():
                write_atomically(note, uuid.uuid4().hex[:8].encode())
            place = {"dir": str(run.path), "name": run.path.name, "id": note.read_text(), "resume": "allow"}
        self.run = wandb.init(project=self.project, config=dict(config), **{**place, **self.options})
        # By the step as a figure: W&B's own counter would refuse steps that are taken again after a crash.
        self.run.define_metric("*", step_metric="step")

    def log(self, step: int, line: Line) -> None:
        """Send the figures."""
        self.run.log({**line, "step": step})

    def image(self, step: int, name: str, image: Image.Image) -> None:
        """Send a picture."""
        self.run.log({name: self.picture(image), "step": step})

    def close(self) -> None:
        """Wait until all has been sent."""
        self.run.finish()


class Trackio(Logger):
    """trackio, which keeps its tables on this machine, or in a Space.

    Args:
        project: the project.
        options: of `trackio.init`, such as space_id="ORG/SPACE".
    """

    extra = "trackio"

    def __init__(self, project: str = PROJECT, **options: Any) -> None:
        self.project, self.options = project, options

    def start(self, run: Run | None, config: Mapping[str, Any], step: int) -> None:
        """Begin a run of trackio, or continue the one of this run's name."""
        self.trackio = importlib.import_module("trackio")
        named = {} if run is None else {"name": run.path.name, "resume": "allow" if step else "never"}
        self.trackio.init(project=self.project, config=dict(config), **{**named, **self.options})

    def log(self, step: int, line: Line) -> None:
        """Send the figures."""
        self.trackio.log({name: value for name, value in line.items() if name != "step"}, step=step)

    def close(self) -> None:
        """End the run."""
        self.trackio.finish()


LOGGERS: dict[str, type[Logger]] = {"csv": CSV, "tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}
"""the loggers, by name"""


def _place(given: Path | str | None, run: Run | None, name: str, logger: str) -> Path:
    if given is None and run is None:
        raise UserError(f"logger {logger} writes into a run: pass run, or leave it out of loggers")
    return Path(given) if given is not None else run.path / name  # type: ignore[union-attr]


def open_loggers(given: Sequence[Any]) -> "list[Guarded]":
    """Return loggers from names and objects, none of which has started yet.

    Raises:
        UserError: a logger of a name does not exist; its extra is missing; an object has no method `log`.
    """
    return [Guarded(each) for place, each in enumerate(given) if not (isinstance(each, str) and each in given[:place])]


class Guarded:
    """A logger whose errors end itself and not the training: after the first one it is not called again."""

    def __init__(self, given: Any) -> None:
        logger = choose("logger", given, LOGGERS)() if isinstance(given, str) else given
        self.name = given if isinstance(given, str) else type(given).__name__
        _check(logger)
        extra = getattr(logger, "extra", "")
        if extra and importlib.util.find_spec(extra) is None:
            raise UserError(f"logger {self.name} needs an extra: pip install 'shortcut-models[{extra}]'")
        self.logger, self.started, self.failed = logger, False, False

    def start(self, run: Run | None, config: Mapping[str, Any], step: int) -> None:
        """Start the logger. Raises UserError where it does not start: nothing has been trained yet."""
        self.started = True
        try:
            self._method("start")(run, config, step)
        except UserError:
            self.failed = True
            raise
        except Exception as error:
            self.failed, reason = True, f"{type(error).__name__}: {first_line(error)}"
            raise UserError(
                f"logger {self.name} does not start ({reason}): fix that, or leave it out of loggers"
            ) from error

    def call(self, name: str, *arguments: Any) -> None:
        """Call a method, unless an earlier call failed; warn where this one does."""
        if self.failed:
            return
        try:
            self._method(name)(*arguments)
        except Exception as error:
            self.failed = True
            reason = f"{type(error).__name__}: {first_line(error)}"
            warnings.warn(f"logger {self.name} failed ({reason}): training continues without it", stacklevel=2)

    def close(self) -> None:
        """Close the logger, also one that failed; what it says of that has been said."""
        if not self.started:
            return
        failed, self.failed, self.started = self.failed, False, False
        with warnings.catch_warnings():
            if failed:
                warnings.simplefilter("ignore")
            self.call("close")

    def _method(self, name: str) -> Any:
        return getattr(self.logger, name, lambda *arguments: None)


def _check(logger: Any) -> None:
    """Raise UserError for what is not a logger."""
    name = getattr(logger, "__name__", type(logger).__name__)
    if isinstance(logger, type):
        raise UserError(f"logger {name} is a class: call it, {name}()")
    if not callable(getattr(logger, "log", None)):
        near = [each for each in closest("log", [each for each in dir(logger) if not each.startswith("_")]) if each]
        hint = f": {near[0]} is never called" if near else ""
        raise UserError(f"logger {name} does not have a method log(step, line){hint}; {_one_of()}")


def _one_of() -> str:
    return f"pass an object that has one, or a name of {', '.join(LOGGERS)}"


__all__ = ["CSV", "LOGGERS", "Guarded", "Line", "Logger", "TensorBoard", "Trackio", "WandB", "open_loggers"]
