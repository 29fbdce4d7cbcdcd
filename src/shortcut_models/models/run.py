"""A run: a directory of configuration, metrics, samples, snapshots and checkpoints."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data.images.hugging_face import PREFIX
from ..errors import UserError
from ..system.files import locked, write_atomically, write_json
from .legacy import upgrade_config

FREE_TO_CHANGE = frozenset({"checkpoint_every", "keep", "keep_best", "log_every", "heldout_every", "evaluate_every"})
FREE_TO_CHANGE |= {"sample_every", "side_share", "snapshots"}  # of the run's records
FREE_TO_CHANGE |= {"train_steps", "workers", "device", "parallel", "accumulate"}
"""Training options that may change when a run resumes: they do not affect the weights, or depend on the machines; what
another number of train_steps means, `training.saving` knows"""
OTHER_RUN = "choose another directory with --run"
PARTS = ("task", "network", "objective", "training")  # of a configuration
PLACES = ("data", "vae")  # fields of a task that name files: two spellings of one path are the same
WRITTEN = (
    "metrics.jsonl", "evaluation.json", "fid.json", "fid", "samples", "snapshots", "checkpoints", "pairs", "rollouts",
    "metrics.csv", "tensorboard", "wandb", "report.html", "config.json",
)  # fmt: skip
"""all that commands write into a run; config.json, by which a run is known, last"""


class Run:
    """The files of one run. Nothing is created before `hold`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.json"
        self.fid_result = self.path / "fid.json"
        self.fid = self.path / "fid"
        self.samples = self.path / "samples"
        self.snapshots = self.path / "snapshots"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best"
        self.pairs = self.path / "pairs"
        self.rollouts = self.path / "rollouts"
        self.lock = self.path / ".lock"

    def check(self, config: dict[str, Any], *, overwrite: bool = False) -> None:
        """Raise UserError if the directory holds anything but this very run; to overwrite, but some run."""
        if self.config.exists():
            earlier = self.read_config()
            if not overwrite:
                refuse_other_run(self.path, earlier, config)
        elif self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file: {OTHER_RUN}")
        elif self.path.is_dir():
            found = [name for name in os.listdir(self.path) if not name.startswith(".")]
            cleared = self.lock.exists() and not {*found} & {*WRITTEN}  # a run's, with the user's files that stayed
            if found and not cleared:
                raise UserError(f"{self.path} is not empty and is not a run directory: choose another with --run")

    def clear(self) -> None:
        """Remove what commands wrote into the directory of a run; other files, and what links lead to, stay."""
        for name in WRITTEN:
            found = self.path / name
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink(missing_ok=True)

    @contextlib.contextmanager
    def hold(self, config: dict[str, Any], *, overwrite: bool = False) -> Iterator[None]:
        """Make the directory, or check that it holds this very run, and keep other processes from training in it.

        overwrite: another run may be there; `clear` removes it.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.check(config, overwrite=overwrite)
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.lock))
            except BlockingIOError:
                raise UserError(f"{self.path} is being trained by another process: wait, or {OTHER_RUN}") from None
            except OSError as error:
                raise UserError(
                    f"cannot use {error.filename or self.path}: {error.strerror}: fix this, or {OTHER_RUN}"
                ) from None
            self.check(config, overwrite=overwrite)  # another process may have started in the meantime
            for left in [*self.path.glob(".*.tmp"), *self.path.glob("*/.*.tmp")]:  # of a process that was killed
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield

    def read_config(self) -> dict[str, Any]:
        """Return the configuration as JSON values. Raises UserError if it is missing or damaged."""
        try:
            config = json.loads(self.config.read_bytes())
            if all(isinstance(config[part], dict) for part in PARTS) and _is_sound(config := upgrade_config(config)):
                return config
        except FileNotFoundError:
            reason = "is not a run, as it does not have a config.json"
            raise UserError(f"{self.path} {reason}: train one with `shortcut train`") from None
        except (ValueError, TypeError, KeyError):
            pass
        raise UserError(
            f"{self.config} is damaged: start from scratch with another --run; the trained models are in "
            f"{self.checkpoints / 'STEP' / 'model.safetensors'}"
        )

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the configuration, unless the file has it already."""
        if not self.config.exists() or self.read_config() != config:
            write_json(self.config, config)

    def begin(self, config: dict[str, Any]) -> None:
        """Write the configuration of a new run before anything else: a directory without one would not be a run."""
        if not self.config.exists():
            self.write_config(config)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of the log, without a line that a crash cut short."""
        lines = []
        for text in self.metrics.read_bytes().splitlines() if self.metrics.exists() else []:
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
        return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]

    def forget_after(self, step: int) -> None:
        """Remove the lines of the log after a step, before the run resumes from there."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        if self.metrics.exists():
            write_atomically(self.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _is_sound(config: dict[str, Any]) -> bool:
    """Return whether what commands read of a configuration is of its type, though it may have been edited."""
    names = [config.get("recipe"), *(config[part].get("name") for part in PARTS)]
    steps = config["training"].get("train_steps", 1)
    return all(isinstance(name, str | None) for name in names) and isinstance(steps, int) and steps > 0


def refuse_other_run(path: Path, earlier: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise UserError, with the first difference that matters, if a run has another configuration."""
    if earlier.get("recipe") != config["recipe"]:
        raise UserError(f"{path} holds a run of recipe {earlier.get('recipe')}: {OTHER_RUN}")
    if earlier.get("teacher") != config.get("teacher"):
        raise UserError(f"{path} was started with another --teacher: pass that one, or {OTHER_RUN}")
    if earlier.get("init") != config.get("init"):
        raise UserError(f"{path} was started with another --init-from, or without: pass the same, or {OTHER_RUN}")
    for part in PARTS:
        before, now = earlier[part], config[part]
        # The images read so far are the same with and without skip_damaged.
        free = {"training": FREE_TO_CHANGE, "task": frozenset({"skip_damaged"})}.get(part, frozenset())
        for name in sorted({*before, *now} - free, key=lambda name: (name != "name", name)):
            if before.get(name) == now.get(name) or same_place(name, before, now):
                continue
            option = part if name == "name" else f"{part}.{name}".removeprefix("training.").replace("_", "-")
            if isinstance(before.get(name), list) or name.endswith("_sha256"):  # too long for a message
                other = f"other data or options, as its {option} was another"
                raise UserError(f"{path} was started with {other}: use the same to resume, or {OTHER_RUN}")
            raise UserError(
                f"{path} was started with --{option} {before.get(name)}, not {now.get(name)}: "
                f"use the same options to resume, or {OTHER_RUN}"
            )


def same_place(name: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Return whether a field of two tasks names the same files, in two spellings."""
    return name in PLACES and _paths(before.get(name)) == _paths(now.get(name))


def _paths(name: Any) -> list[str]:
    """Return the files that an option names, by their absolute paths; names on the Hub stay as they are."""
    each = [] if name is None else str(name).split(",")
    return [text if text.startswith(PREFIX) else os.path.realpath(os.path.expanduser(text)) for text in each]
