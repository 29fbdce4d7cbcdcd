"""Episodes that were played, kept in a file each: a rollout that was stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from pathlib import Path

from . import checkpoint
from .episode import Episode
from .errors import UserError
from .model import describe
from .objectives import OBJECTIVES
from .policy import Policy
from .runs import write_atomically
from .tasks import TASKS

VERSION = 1
"""of what decides an episode, beyond what `folder_name` looks at"""
_KINDS = typing.get_type_hints(Episode)


def folder_name(policy: Policy, environment: str) -> str:
    """Follows from all that an episode follows from, but its seed and the number of steps."""
    parts = describe(policy.objective, OBJECTIVES), describe(policy.task, TASKS)
    weights = checkpoint.fingerprint(policy.network.state_dict())
    facts = [VERSION, weights, *parts, environment, policy.execute, policy.device.type]
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
        content = json.dumps(dataclasses.asdict(episode), indent=2) + "\n"
        write_atomically(self.path(episode.steps, episode.seed), content.encode())

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
