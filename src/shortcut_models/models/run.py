"""A run is a directory: configuration, metrics, samples, snapshots and checkpoints."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..system.files import locked, write_atomically
from .legacy import upgrade_config

FREE_TO_CHANGE = frozenset(
    {"checkpoint_every", "keep", "log_every", "heldout_every", "sample_every", "workers", "device", "tensorboard"}
    | {"parallel", "accumulate"}
)
"""Training options that may differ when a run goes on: they do not touch the weights, or follow the machines."""
PARTS = ("task", "network", "objective", "training")
"""of a configuration"""


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
        self.pairs = self.path / "pairs"
        self.rollouts = self.path / "rollouts"

    def check(self, config: dict[str, Any]) -> None:
        """Raise UserError where the directory holds anything but this very run."""
        if self.config.exists():
            refuse_other_run(self.path, self.read_config(), config)
        elif self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file: give another directory with --run")
        elif self.path.is_dir() and any(not name.startswith(".") for name in os.listdir(self.path)):
            raise UserError(f"{self.path} is not empty and holds no run: give another directory with --run")

    @contextlib.contextmanager
    def hold(self, config: dict[str, Any]) -> Iterator[None]:
        """Make the directory, or check that it holds this very run, and let no other process train in it.

        Raises UserError where it holds something else, or is being trained.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.check(config)
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path / ".lock"))
            except BlockingIOError:
                raise UserError(
                    f"{self.path} is being trained by another process: wait, or choose another directory with --run"
                ) from None
            except OSError as error:
                raise UserError(
                    f"cannot use {error.filename or self.path}: {error.strerror}: fix this, or choose another directory "
                    f"with --run"
                ) from None
            self.check(config)  # another process may have begun in the meantime
            self._clear_away()
            yield

    def _clear_away(self) -> None:
        """Remove what a process that was killed was writing."""
        for left in [*self.path.glob(".*.tmp"), *self.path.glob("*/.*.tmp")]:
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()

    def read_config(self) -> dict[str, Any]:
        """The configuration, as JSON values."""
        try:
            config = json.loads(self.config.read_bytes())
            if all(isinstance(config[part], dict) for part in PARTS):
                return upgrade_config(config)
        except FileNotFoundError:
            raise UserError(
                f"{self.path} is no run, as it has no config.json: train one with `shortcut train`"
            ) from None
        except (ValueError, TypeError, KeyError):
            pass
        raise UserError(
            f"{self.config} is damaged: start anew with another --run; what was trained is whole in each "
            f"{self.checkpoints / 'STEP' / 'model.safetensors'}"
        )

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the configuration, unless it is there already."""
        if not self.config.exists() or self.read_config() != config:
            write_atomically(self.config, (json.dumps(config, indent=2) + "\n").encode())

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of the log; a line torn by a crash is left out."""
        lines = []
        for text in self.metrics.read_bytes().splitlines() if self.metrics.exists() else []:
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and isinstance(line.get("step"), int):
                    lines.append(line)
        return lines

    def forget_after(self, step: int) -> None:
        """Drop what was logged after a step, before the run goes on from there."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        if self.metrics.exists():
            write_atomically(self.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())


def refuse_other_run(path: Path, earlier: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise UserError, naming the first difference that matters, where a run holds another configuration."""
    if earlier.get("recipe") != config["recipe"]:
        raise UserError(f"{path} holds a run of recipe {earlier.get('recipe')}: give another directory with --run")
    if earlier.get("teacher") != config.get("teacher"):
        raise UserError(f"{path} was started with another --teacher: give that one, or another directory with --run")
    if earlier.get("init") != config.get("init"):
        raise UserError(
            f"{path} was started with another --init-from, or without: give the same, or another directory with --run"
        )
    for part in PARTS:
        before, now = earlier[part], config[part]
        for name in sorted({*before, *now}, key=lambda name: (name != "name", name)):
            if (part == "training" and name in FREE_TO_CHANGE) or before.get(name) == now.get(name):
                continue
            if (part, name) == ("task", "skip_damaged"):  # what was read so far is the same with it and without
                continue
            if (
                (part, name) == ("training", "train_steps")
                and now["schedule"] == "constant"
                and not config["has_schedule"]
            ):
                continue
            option = name.replace("_", "-") if part == "training" else f"{part}.{name.replace('_', '-')}"
            option = part if name == "name" else option
            if isinstance(before.get(name), list) or name.endswith("_sha256"):  # too long to be shown
                raise UserError(
                    f"{path} was started with other data or options, as its {option} was another: use the same to "
                    f"resume, or give another directory with --run"
                )
            raise UserError(
                f"{path} was started with --{option} {before.get(name)}, not {now.get(name)}: "
                f"use the same options to resume, or give another directory with --run"
            )
