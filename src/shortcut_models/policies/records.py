"""The records of played episodes, a file each, so that an interrupted rollout continues where it stopped."""

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
from ..models.loading import describe
from ..system.files import write_json
from ..system.hashing import hash_tensors
from .episode import Episode
from .policy import Policy

RECORDS_VERSION = 2  # changes when an episode depends on more than the other facts in `folder_name`
_TYPES = typing.get_type_hints(Episode)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python, this package, torch, numpy, and those of `packages` that are installed."""
    found = {"python": platform.python_version(), "shortcut-models": __version__}
    for name in ("torch", "numpy", *packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def folder_name(policy: Policy, environment: str, versions: Mapping[str, str]) -> str:
    """Return a name that follows from all that determines an episode, except its seed and number of steps."""
    model = policy.model
    parts = describe(model.objective), describe(policy.task)
    weights = hash_tensors(model.network.state_dict())
    facts = [RECORDS_VERSION, weights, *parts, environment, dict(versions), policy.execute, model.device.type]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return f"{environment.replace('/', '-')}-{digest}"


class Records:
    """A folder of episodes. It, or files in it, may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, steps: int, seed: int) -> Path:
        """Return the file of an episode."""
        return self.folder / f"{steps}-steps" / f"{seed:08d}.json"

    def write(self, episode: Episode) -> None:
        """Write the record of an episode."""
        write_json(self.path(episode.steps, episode.seed), dataclasses.asdict(episode))

    def read(self, steps: int, seed: int) -> Episode | None:
        """Return the record of an episode, or None without one; raise UserError if the file is damaged."""
        path = self.path(steps, seed)
        try:
            found = Episode(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            found = None
        valid = found is not None and all(type(value) is _TYPES[name] for name, value in vars(found).items())
        if found is None or not valid or (found.steps, found.seed) != (steps, seed):
            raise UserError(f"{path} is damaged: remove it, and the same command plays that episode again")
        return found
