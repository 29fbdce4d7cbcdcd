"""A policy: a model whose samples are what to do next, given what was seen."""

from __future__ import annotations

import collections
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Shaped

from ..errors import UserError
from ..models.model import Model
from ..randomness import sample_noise
from ..tasks.imitation import Imitation

Observed = Mapping[str, np.ndarray]
"""What is seen in one environment at one moment, by name."""


@dataclass
class _Row:
    """One environment: what was seen in it last, and what is to be done in it next."""

    seed: int
    frames: collections.deque[Observed]
    plan: collections.deque[np.ndarray] = field(default_factory=collections.deque)
    decisions: int = 0

    def seeing(self, observation: Observed) -> collections.deque[Observed]:
        """Its frames with one more; the first one stands for all that came before it.

        Raises UserError where it is not of the same kind as the frames before.
        """
        for name, value in observation.items():
            before = self.frames[-1][name] if self.frames else value
            if (value.shape, value.dtype) != (before.shape, before.dtype):
                raise UserError(
                    f"{name} is {value.dtype} {list(value.shape)}, and was {before.dtype} {list(before.shape)} in the "
                    f"frame before: observe the same in every frame"
                )
        frames = self.frames.copy()
        frames.extend([observation] * (1 if frames else frames.maxlen or 1))
        return frames


@dataclass
class Policy(Model):
    """What `shortcut_models.load` returns for a run that learned from demonstrations: it acts.

    A decision is one sample: a chunk of actions, of which the first `execute` are carried out before the next decision
    (receding horizon; Chi et al. 2023, arXiv 2303.04137, section III). The observations between are remembered. Call
    `act` for every frame::

        policy = shortcut_models.load("runs/car-racing")
        policy.reset(seed=7)
        while not over:
            action = policy.act({"image": image}, steps=1)

    The task must be an Imitation.
    """

    execute: int | None = None
    """actions of a chunk that are carried out; none: as many as the task says"""

    def __post_init__(self) -> None:
        if not isinstance(self.task, Imitation):
            raise UserError("a policy needs a model that was trained on the task imitation")
        self.imitation: Imitation = self.task
        self.execute = self.imitation.execute if self.execute is None else self.execute
        if not 1 <= self.execute <= self.imitation.chunk:
            raise UserError(
                f"execute must be from 1 to {self.imitation.chunk}, the actions of a chunk, not {self.execute}"
            )
        self.decided = False
        """whether the last call of `act` ran the network"""
        self.reset()

    def reset(self, environments: int | None = None, seed: int | np.integer | Sequence[int] = 0) -> None:
        """Forget what was seen, before an episode.

        Args:
            environments: none: `act` takes one environment's observation. A number n: it takes those of n at a time.
            seed: of the noises: decision k of an environment follows from (seed, k). One number s stands for s, s + 1,
                ..., so that environment i does as one alone with seed s + i.

        Raises:
            UserError: a number out of its range, or not as many seeds as environments.
        """
        if environments is not None and (not isinstance(environments, numbers.Integral) or environments < 1):
            raise UserError(f"environments must be none or a whole number of at least 1, not {environments}")
        self.alone = environments is None
        count = environments or 1
        seeds = [int(seed) + row for row in range(count)] if isinstance(seed, (int, np.integer)) else list(seed)
        if len(seeds) != count:
            raise UserError(f"there must be a seed for each of {count} environments, not {len(seeds)}")
        self._rows = [self._fresh(one) for one in seeds]

    def restart(self, environment: int, seed: int) -> None:
        """Forget what was seen in one of several environments, where an episode of its own begins.

        Raises UserError for a number out of its range.
        """
        if not isinstance(environment, numbers.Integral) or not 0 <= environment < len(self._rows):
            raise UserError(f"environment must be a whole number from 0 to {len(self._rows) - 1}, not {environment}")
        self._rows[environment] = self._fresh(seed)

    def _fresh(self, seed: int) -> _Row:
        if not isinstance(seed, numbers.Integral) or seed < 0:
            raise UserError(f"seed must be a whole number of at least 0, not {seed}")
        return _Row(int(seed), collections.deque(maxlen=self.imitation.history))

    def act(
        self, observation: Mapping[str, Shaped[np.ndarray, "..."]], steps: int = 1, *, guidance: float = 1.0
    ) -> Float[np.ndarray, "..."]:
        """What to do now, having seen this.

        Args:
            observation: by name, as in the demonstrations: images uint8 [height, width, channels], vectors [size];
                with an axis for the environments before, if `reset` was told of several.
            steps: passes through the network, where this call needs any.
            guidance: classifier-free guidance weight, >= 0, away from what it does without seeing; 1 is none.

        Returns:
            float32 [action], or [environments, action], within the bounds of an action.

        Raises:
            UserError: an observation that is not as in the demonstrations; a number out of its range. Nothing is
                remembered of this call then.
        """
        self.check_guidance(guidance)
        seen = [row.seeing(frame) for row, frame in zip(self._rows, self._split(observation), strict=True)]
        due = [(row, frames) for row, frames in zip(self._rows, seen, strict=True) if not row.plan]
        if due:
            self._decide(due, steps, guidance)
        self.decided = bool(due)
        for row, frames in zip(self._rows, seen, strict=True):
            row.frames = frames
        actions = np.stack([row.plan.popleft() for row in self._rows])
        return actions[0] if self.alone else actions

    def _split(self, observation: Mapping[str, np.ndarray]) -> list[Observed]:
        """The observation of each environment, with the names that the policy looks at."""
        count, found = len(self._rows), {}
        for name in self.imitation.names:
            if name not in observation:
                raise UserError(f"the policy sees {name}, which is not among {', '.join(observation) or 'nothing'}")
            value = np.array(observation[name])  # a copy: an environment may use its arrays again
            if not self.alone and (value.ndim == 0 or len(value) != count):
                raise UserError(
                    f"{name} must be of {count} environments, as reset was told: its shape is {value.shape}"
                )
            if value.dtype.kind not in "biuf":
                raise UserError(f"{name} holds {value.dtype}, not numbers: look at what makes the observations")
            if not np.isfinite(value).all():
                raise UserError(f"{name} holds a number that is not finite: look at what makes the observations")
            found[name] = value[None] if self.alone else value
        return [{name: value[row] for name, value in found.items()} for row in range(count)]

    def _decide(self, due: Sequence[tuple[_Row, Sequence[Observed]]], steps: int, guidance: float) -> None:
        """A new plan for each of these environments, which have seen these frames, all from one batch."""
        seen = {
            name: np.stack([[frame[name] for frame in frames] for _, frames in due]) for name in self.imitation.names
        }
        cond = self.imitation.raw_conditions(seen)
        noise = torch.cat([sample_noise(row.seed, [row.decisions], self.task.shape) for row, _ in due])
        for (row, _), chunk in zip(due, self.sample_from(noise, steps, cond, guidance), strict=True):
            row.plan.extend(chunk[: self.execute])
            row.decisions += 1
