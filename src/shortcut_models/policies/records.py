"""Episodes that were played, kept in a file each: a rollout that was stopped goes on where it was."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._version import __version__
from ..errors import UserError
from ..models.parts import describe
from ..system.files import write_json
from ..system.hashing import hash_tensors
from .episode import Episode
from .policy import Policy

VERSION = 2
"""of what decides an episode, beyond what `folder_name` looks at"""
_KINDS = typing.get_type_hints(Episode)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python, this package, what it computes with, and those of these packages that are installed."""
    found = {"python": platform.python_version(), "shortcut-models": __version__}
    for name in ("torch", "numpy", *packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def folder_name(policy: Policy, environment: str, versions: Mapping[str, str]) -> str:
    """Follows from all that an episode follows from, but its seed and the number of steps."""
    parts = describe(policy.objective), describe(policy.task)
    weights = hash_tensors(policy.network.state_dict())
    facts = [VERSION, weights, *parts, environment, dict(versions), policy.execute, policy.device.type]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return f"{environment.replace('/', '-')}-{digest}"


class Records:
    """A folder of episodes. It may be deleted at any time; files of it, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, steps: int, seed: int) -> Path:
        """The file of an episode."""
        return self.folder / f"{steps}-steps" / f"{seed:08d}.json"

    def write(self, episode: Episode) -> None:
        """Keep an episode."""
        write_json(self.path(episode.steps, episode.seed), dataclasses.asdict(episode))

    def read(self, steps: int, seed: int) -> Episode | None:
        """An episode, where it was played. Raises UserError where its file is damaged."""
        path = self.path(steps, seed)
        try:
            found = Episode(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            found = None
        if found is None or (found.steps, found.seed) != (steps, seed) or not _whole(found):
            raise UserError(f"{path} is damaged: remove it, and the same command plays that episode again")
        return found


def _whole(episode: Episode) -> bool:
    """Whether every field is of its kind."""
    return all(type(value) is _KINDS[name] for name, value in dataclasses.asdict(episode).items())
