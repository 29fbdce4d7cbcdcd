"""A run is a directory: configuration, metrics, samples, snapshots and checkpoints."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UserError

FREE_TO_CHANGE = frozenset(
    {"checkpoint_every", "keep", "log_every", "heldout_every", "sample_every", "workers", "device", "tensorboard"}
)
"""Training options that do not touch the weights, and so may differ when a run goes on."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment either the old or the new content is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Run:
    """The files of one run. Nothing is created before `start`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.json"
        self.samples = self.path / "samples"
        self.snapshots = self.path / "snapshots"
        self.checkpoints = self.path / "checkpoints"

    def start(self, config: dict[str, Any]) -> None:
        """Make the directory, or check that what is there is this very run. Raises UserError where it is not."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file: give another directory with --run")
        if not self.config.exists():
            if self.path.is_dir() and any(not name.startswith(".") for name in os.listdir(self.path)):
                raise UserError(f"{self.path} is not empty and holds no run: give another directory with --run")
            write_atomically(self.config, (json.dumps(config, indent=2) + "\n").encode())
            return
        earlier = self.read_config()
        refuse_other_run(self.path, earlier, config)
        if earlier != config:
            write_atomically(self.config, (json.dumps(config, indent=2) + "\n").encode())

    def read_config(self) -> dict[str, Any]:
        """The configuration, as JSON values."""
        try:
            return json.loads(self.config.read_text())
        except FileNotFoundError:
            raise UserError(
                f"{self.path} is no run, as it has no config.json: train one with `shortcut train`"
            ) from None
        except json.JSONDecodeError:
            raise UserError(f"{self.config} is damaged: start anew with another --run") from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run, so that no second process trains in the same directory."""
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path} is being trained by another process: wait, or give another --run"
                ) from None
            yield

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of the log; a line torn by a crash is left out."""
        if not self.metrics.exists():
            return []
        lines = []
        for line in self.metrics.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
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
    for part in ("task", "network", "objective", "training"):
        before, now = earlier.get(part, {}), config[part]
        for name in sorted(set(before) | set(now)):
            if (part == "training" and name in FREE_TO_CHANGE) or before.get(name) == now.get(name):
                continue
            if part == "training" and name == "steps" and now["schedule"] == "constant":
                continue
            flag = name.replace("_", "-") if part == "training" else f"{part}.{name.replace('_', '-')}"
            raise UserError(
                f"{path} was started with --{flag} {before.get(name)}, not {now.get(name)}: "
                f"use the same options to resume, or give another directory with --run"
            )
