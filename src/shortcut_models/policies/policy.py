"""A policy: acts in an environment with the chunks of actions that a trained model samples."""

import collections
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped

from ..errors import UserError
from ..models.loading import load
from ..models.model import Model
from ..randomness import sample_noise
from ..tasks.imitation import Imitation
from .environments import Observation


@dataclass
class _EnvironmentState:
    """What a policy remembers of one environment."""

    seed: int
    frames: collections.deque[Observation]  # the last observations
    actions: collections.deque[np.ndarray] = field(default_factory=collections.deque)
    """actions that were decided and not yet returned"""
    decisions: int = 0

    def frames_with(self, observation: Observation) -> collections.deque[Observation]:
        """Return the last observations with one more; the first observation also stands for all before it."""
        for name, value in observation.items():
            before = self.frames[-1][name] if self.frames else value
            if (value.shape, value.dtype) != (before.shape, before.dtype):
                raise UserError(
                    f"{name} is {value.dtype} {list(value.shape)}, and was {before.dtype} {list(before.shape)} in the "
                    f"frame before: use one shape and type for all frames"
                )
        frames = self.frames.copy()
        frames.extend([observation] * (1 if frames else frames.maxlen or 1))
        return frames


class Policy:
    """Acts with a model that was trained on demonstrations.

    A decision is one sample: a chunk of actions, of which the first `execute` are executed before the next decision
    (receding horizon; Chi et al. 2023, arXiv 2303.04137, section III). The policy remembers the observations between
    decisions, so call `act` for every frame::

        policy = shortcut_models.Policy.load("runs/car-racing")
        policy.reset(seed=7)
        while not (terminated or truncated):
            action = policy.act({"image": image}, steps=1)
    """

    model: Model
    task: Imitation  # the model's task
    execute: int  # actions of a chunk that are executed
    decided: bool  # whether the last call of `act` ran the network

    def __init__(self, model: Model, execute: int | None = None) -> None:
        """Wrap a model.

        Args:
            model: a model whose task is Imitation. Its network is put into PyTorch's memory layout `channels_last`.
            execute: actions of a chunk that are executed; None for the number that the task has.

        Raises:
            UserError: the task is not Imitation, or `execute` is out of its range.
        """
        if not isinstance(model.task, Imitation):
            raise UserError("not a policy, as it was not trained on demonstrations: use `shortcut evaluate` for it")
        self.model, self.task = model, model.task
        self.execute = self.task.execute if execute is None else execute
        if not 1 <= self.execute <= self.task.chunk:
            raise UserError(f"execute must be from 1 to {self.task.chunk}, the actions of a chunk, not {self.execute}")
        # A decision is a batch of one, for which a CPU computes convolutions in this layout several times as fast.
        model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # unknown to its stubs
        self.decided = False
        self.reset()

    @classmethod
    def load(
        cls, path: Path | str, *, device: str | torch.device = "cpu", execute: int | None = None, **parts: Any
    ) -> "Policy":
        """Load the policy of a run directory or a model file.

        Args:
            path: as for `shortcut_models.load`.
            device: where the network runs.
            execute: as for `Policy`.
            parts: `network`, `objective` and `task`, as for `shortcut_models.load`.

        Raises:
            UserError: as `shortcut_models.load`; the model was not trained on demonstrations.
        """
        model = load(path, device=device, **parts)
        try:
            return cls(model, execute)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def reset(self, environments: int | None = None, seed: int | np.integer | Sequence[int] = 0) -> None:
        """Start an episode: forget all observations.

        Args:
            environments: None if `act` gets the observation of one environment, else the number of environments whose
                observations it gets at a time.
            seed: determines the noise: decision k of an environment follows from (seed, k). One number s stands for
                s, s + 1, ..., so that environment i acts as a single one with seed s + i.

        Raises:
            UserError: a number is out of its range, or the number of seeds is not that of the environments.
        """
        if environments is not None and (not isinstance(environments, numbers.Integral) or environments < 1):
            raise UserError(f"environments must be None or a whole number of at least 1, not {environments}")
        self._is_single = environments is None
        count = environments or 1
        seeds = [int(seed) + row for row in range(count)] if isinstance(seed, (int, np.integer)) else list(seed)
        if len(seeds) != count:
            raise UserError(f"there must be a seed for each of {count} environments, not {len(seeds)}")
        self._states = [self._new_state(one) for one in seeds]

    def restart(self, environment: int, seed: int) -> None:
        """Start an episode in one of several environments, while the others continue."""
        last = len(self._states) - 1
        if not isinstance(environment, numbers.Integral) or not 0 <= environment <= last:
            raise UserError(f"environment must be a whole number from 0 to {last}, not {environment}")
        self._states[environment] = self._new_state(seed)

    def _new_state(self, seed: int) -> _EnvironmentState:
        if not isinstance(seed, numbers.Integral) or seed < 0:
            raise UserError(f"seed must be a whole number of at least 0, not {seed}")
        return _EnvironmentState(int(seed), collections.deque(maxlen=self.task.history))

    def act(
        self, observation: Mapping[str, Shaped[np.ndarray, "..."]], steps: int = 1, *, guidance: float = 1.0
    ) -> Float[np.ndarray, "..."]:
        """Return the action for this frame.

        Args:
            observation: by name, as in the demonstrations: images uint8 [height, width, channels], vectors [size]; with
                a leading axis for the environments if `reset` was given a number of them.
            steps: sampling steps, where this call runs the network.
            guidance: weight of classifier-free guidance, >= 0; 1 for none.

        Returns:
            float32 [action], or [environments, action], within the bounds of the demonstrated actions.

        Raises:
            UserError: the observation is not as in the demonstrations, or a number is out of its range. The policy then
                remembers nothing of this call.
        """
        self.model.check_guidance(guidance)
        frames = [state.frames_with(one) for state, one in zip(self._states, self._split(observation), strict=True)]
        due = [(state, seen) for state, seen in zip(self._states, frames, strict=True) if not state.actions]
        if due:
            self._decide(due, steps, guidance)
        self.decided = bool(due)
        for state, seen in zip(self._states, frames, strict=True):
            state.frames = seen
        actions = np.stack([state.actions.popleft() for state in self._states])
        return actions[0] if self._is_single else actions

    def _split(self, observation: Mapping[str, np.ndarray]) -> list[Observation]:
        """Return the observation of each environment, with the names that the policy uses."""
        count, found = len(self._states), {}
        for name in self.task.names:
            if name not in observation:
                raise UserError(f"the policy needs {name}, which is not among {', '.join(observation) or 'nothing'}")
            value = np.array(observation[name])  # a copy, as an environment may reuse its arrays
            if not self._is_single and (value.ndim == 0 or len(value) != count):
                raise UserError(f"{name} must be of {count} environments, as in reset: its shape is {value.shape}")
            if value.dtype.kind not in "biuf":
                raise UserError(f"{name} holds {value.dtype}, not numbers: check the observations")
            if not np.isfinite(value).all():
                raise UserError(f"{name} holds a number that is not finite: check the observations")
            found[name] = value[None] if self._is_single else value
        return [{name: value[row] for name, value in found.items()} for row in range(count)]

    def _decide(
        self, due: Sequence[tuple[_EnvironmentState, Sequence[Observation]]], steps: int, guidance: float
    ) -> None:
        """Sample the next actions of some environments, given their last observations, in one batch."""
        seen = {name: np.stack([[frame[name] for frame in frames] for _, frames in due]) for name in self.task.names}
        cond = self.task.raw_conditions(seen)
        noise = torch.cat([sample_noise(state.seed, [state.decisions], self.task.shape) for state, _ in due])
        for (state, _), chunk in zip(due, self.model.sample_from(noise, steps, cond, guidance), strict=True):
            state.actions.extend(chunk[: self.execute])
            state.decisions += 1
