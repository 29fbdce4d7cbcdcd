"""The command `shortcut rollout`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import annotated_types as at
from tyro.conf import Positional

from ..config import PositiveInt
from .race import watch
from .shared import Acting, WorldSeed, check_out, check_video_out, steps_of


@dataclass(frozen=True, kw_only=True)
class Rollout(Acting):
    run: Positional[Path]
    """run directory or model.safetensors file of a policy"""
    steps: Sequence[int] = (1,)
    """numbers of sampling steps for each decision, 1 to the policy's largest"""
    episodes: PositiveInt = 100
    """number of episodes for each number of steps"""
    seed: WorldSeed = 1_000_000
    """seed of the first episode; seeds of the demonstrations are skipped"""
    workers: Annotated[int, at.Ge(1), at.Le(256)] = 1
    """number of processes, each with its share of the cores"""
    json: Path | None = None
    """file to write the table and every episode to, .json"""
    video: Path | None = None
    """file of a video of the first episode at each number of steps, .mp4 or .gif"""

    def __call__(self) -> None:
        if self.json is not None:
            check_out(self.json, ".json")
        if self.video is not None:
            check_video_out(self.video)
        from ..policies.rollout import PolicyRun, fresh_seeds, roll_out
        from ..policies.table import result, table
        from ..system.files import write_json

        opened = PolicyRun.open(self.run, self.torch_device(), self.environment, self.execute)
        steps = steps_of(self.steps, opened.policy.model)
        seeds = fresh_seeds(self.episodes, self.seed, opened.policy.task.seeds)
        found = result(opened, steps, roll_out(opened.factory, opened.records, steps, seeds, workers=self.workers))
        print(table(found), flush=True)
        if self.json is not None:
            write_json(self.json, found)
        if self.video is not None:
            watch(self.video, [(opened, n) for n in steps], seeds[0])
