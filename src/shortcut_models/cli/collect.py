"""The command `shortcut collect`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import annotated_types as at
from tyro.conf import Positional

from ..config import Fraction, PositiveInt
from ..errors import UserError
from .parser import Command
from .shared import WorldSeed, check_steps

if TYPE_CHECKING:
    from ..policies.collect import Learner


@dataclass(frozen=True, kw_only=True)
class Collect(Command):
    environment: Positional[str]
    """name of the environment: car-racing, or meta-world/TASK"""
    episodes: PositiveInt
    """number of episodes to keep, those of earlier calls included"""
    out: Path
    """folder of the demonstrations: new, empty, or that of an earlier call"""
    min_return: float | None = None
    """smallest return of an episode that is kept; the others are counted (default: keep all)"""
    seed: WorldSeed = 0
    """seed of the first episode; each has the next one"""
    noise: Fraction = 0.0
    """scale of the noise on the actions that are carried out; the expert's own actions are recorded, which shows how to
    recover; 1 is about the most that the expert recovers from"""
    perturbations: Annotated[float, at.Ge(0), at.Lt(1000)] = 0.0
    """mean number of perturbations in 1,000 frames; each holds a random action for 10 to 40 frames while the expert's
    own actions are recorded, which shows how to recover from farther off"""
    human: bool = False
    """drive yourself, with the keyboard or a gamepad"""
    policy: Path | None = None
    """run of a policy that acts, on the CPU, while the expert's actions are recorded (DAgger)"""
    steps: PositiveInt | None = None
    """number of sampling steps of each of the policy's decisions (default: 1)"""
    execute: PositiveInt | None = None
    """number of actions carried out after each of its decisions (default: the run's own)"""

    def __call__(self) -> None:
        from ..policies.collect import Settings, collect
        from ..policies.environments import open_environment
        from ..policies.experts import open_expert

        if self.human and self.policy is not None:
            raise UserError("--human and --policy exclude each other: choose one")
        settings = Settings(
            "human" if self.human else "expert", self.seed, self.noise, self.perturbations, self.min_return
        )
        expert = open_expert(self.environment, human=self.human)
        learner = self._learner()
        with contextlib.closing(expert), contextlib.closing(open_environment(self.environment)) as environment:
            say = lambda line: print(line, flush=True)
            scores = collect(self.environment, environment, expert, self.out, self.episodes, settings, say, learner)
        print(f"mean return {sum(scores) / len(scores):.1f} over {len(scores)} episodes")

    def _learner(self) -> Learner | None:
        """Return the policy that acts, if one does."""
        if self.policy is None:
            for option in ("steps", "execute"):
                if getattr(self, option) is not None:
                    raise UserError(f"--{option} is an option of a policy: pass --policy RUN too")
            return None
        from ..policies.collect import Learner
        from ..policies.rollout import PolicyRun
        from ..system.hashing import hash_tensors

        policy = PolicyRun.open(self.policy, environment=self.environment, execute=self.execute).policy
        steps = self.steps or 1
        check_steps(steps, policy.model)
        weights = hash_tensors(policy.model.network.state_dict())[:8]
        run = f"{self.policy.resolve().name} of training step {policy.model.step:,} (weights {weights})"
        return Learner(f"{run} with --steps {steps} --execute {policy.execute}", policy, steps)
