"""A policy: acts in an environment with the chunks of actions that a trained model samples."""

import collections
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image

from ..base import Cond
from ..errors import UserError
from ..models.loading import load
from ..models.model import Model
from ..randomness import sample_noise
from ..tasks.imitation import Imitation
from .chunk import Chunk, Frames, Planned, average
from .environments import Observation

RawObservation = Mapping[str, Shaped[np.ndarray, "..."]]


@dataclass(frozen=True)
class _Seen:
    """What a policy has seen of an episode; replaced as a whole, so that a thread that decides reads one state."""

    frame: int = -1  # of the last observation, from 0
    last: tuple[Observation, ...] = ()
    """the last observations, as many as the policy looks back on"""

    def and_then(self, observation: Observation, history: int) -> "_Seen":
        """Return this with one more observation; the first one also stands for all before it."""
        for name, value in observation.items():
            before = self.last[-1][name] if self.last else value
            if (value.shape, value.dtype) != (before.shape, before.dtype):
                raise UserError(
                    f"{name} is {value.dtype} {list(value.shape)}, and was {before.dtype} {list(before.shape)} in the "
                    f"frame before: use one shape and type for all frames"
                )
        return _Seen(self.frame + 1, (self.last[1:] or (observation,) * (history - 1)) + (observation,))


@dataclass
class _EnvironmentState:
    """What a policy remembers of one environment."""

    seed: int
    plans: collections.deque[Planned]
    """the last chunks that `act` decided on"""
    seen: _Seen = _Seen()
    decisions: int = 0


class Policy:
    """Acts with a model that was trained on demonstrations.

    A decision is one sample: a chunk of actions, of which the first `execute` are executed before the next decision
    (receding horizon; Chi et al. 2023, arXiv 2303.04137, section III). The policy remembers the observations between
    decisions, so it is called once for every frame::

        policy = shortcut_models.Policy.load("runs/car-racing")
        policy.reset(seed=7)
        while not (terminated or truncated):
            action = policy.act({"image": image}, steps=1)

    Which of its methods is called for a frame may differ from frame to frame: `act` returns an action, `predict` a
    whole chunk for a queue of the caller's own, and `observe` nothing.
    """

    model: Model
    task: Imitation  # the model's task
    execute: int  # actions of a chunk that are executed
    ensemble: float | None
    """decay of temporal ensembling: then `act` decides in every frame, and averages all actions for it"""
    decided: bool  # whether the last call of `act` ran the network

    def __init__(self, model: Model, execute: int | None = None, *, ensemble: float | int | None = None) -> None:
        """Wrap a model.

        Args:
            model: a model whose task is Imitation. Its network is put into PyTorch's memory layout `channels_last`.
            execute: actions of a chunk that are executed; None for the number that the task has.
            ensemble: None, or the decay m of temporal ensembling (Zhao et al. 2023, arXiv 2304.13705, algorithm 2):
                `act` decides in every frame, and returns the mean of all actions for it, from the last `chunk`
                decisions, weighted by exp(-m i), i = 0 for the oldest. They use 0.01; 0 weights all alike.

        Raises:
            UserError: the task is not Imitation, `execute` is out of its range, or `ensemble` is not a finite number
                or comes with an `execute` above 1.
        """
        if not isinstance(model.task, Imitation):
            raise UserError("not a policy, as it was not trained on demonstrations: use `shortcut evaluate` for it")
        self.model, self.task, self.ensemble = model, model.task, _checked_ensemble(ensemble, execute)
        own = self.task.execute if ensemble is None else 1
        self.execute = own if execute is None else execute
        if not 1 <= self.execute <= self.task.chunk:
            raise UserError(f"execute must be from 1 to {self.task.chunk}, the actions of a chunk, not {self.execute}")
        # A decision is a batch of one, for which a CPU computes convolutions in this layout several times as fast.
        model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # unknown to its stubs
        self.decided = False
        self.reset()

    @classmethod
    def load(
        cls, path: Path | str, *, device: str | torch.device = "cpu", execute: int | None = None,
        ensemble: float | int | None = None, **parts: Any,
    ) -> "Policy":  # fmt: skip
        """Load the policy of a run directory or a model file.

        Args:
            path: as for `shortcut_models.load`.
            device: where the network runs.
            execute, ensemble: as for `Policy`.
            parts: `network`, `objective` and `task`, as for `shortcut_models.load`.

        Raises:
            UserError: as `shortcut_models.load` and `Policy`.
        """
        model = load(path, device=device, **parts)
        try:
            return cls(model, execute, ensemble=ensemble)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def copy(self) -> "Policy":
        """Return a policy with the same network and options, and a memory of its own."""
        return type(self)(self.model, self.execute, ensemble=self.ensemble)

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
        return _EnvironmentState(int(seed), collections.deque(maxlen=1 if self.ensemble is None else self.task.chunk))

    @property
    def frame(self) -> Frames:
        """The frame of the last observation, from 0; -1 before the first, and int64 [environments] for several."""
        return self._frame_of([state.seen for state in self._states])

    def _frame_of(self, seen: Sequence[_Seen]) -> Frames:
        return seen[0].frame if self._is_single else np.array([one.frame for one in seen], np.int64)

    def act(self, observation: RawObservation, steps: int = 1, *, guidance: float = 1.0) -> Float[np.ndarray, "..."]:
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
        seen = self._seen_with(observation)
        due = [row for row, (state, one) in enumerate(zip(self._states, seen, strict=True)) if self._is_due(state, one)]
        if due:
            states = [self._states[row] for row in due]
            chunks = self._decide(states, [seen[row] for row in due], steps, guidance)
            for row, state, chunk in zip(due, states, chunks, strict=True):
                state.plans.append(Planned(seen[row].frame, chunk))
        self.decided = bool(due)
        self._remember(seen)
        actions = [average(state.plans, state.seen.frame, self.ensemble or 0.0) for state in self._states]
        return actions[0] if self._is_single else np.stack(actions)

    def _is_due(self, state: _EnvironmentState, seen: _Seen) -> bool:
        """Return whether the last chunk of `act` has no action left that is to be executed."""
        return not state.plans or seen.frame - state.plans[-1].begin >= self.execute

    def predict(self, observation: RawObservation | None = None, steps: int = 1, *, guidance: float = 1.0) -> Chunk:
        """Decide now, and return the whole chunk, for a queue of actions of the caller's own.

        What `act` has planned stays: it returns each of its actions in the frame that the action is for.

        Args:
            observation: as for `act`. None: that of the last frame, which `observe` or another call got; so a thread
                may decide while this one observes.
            steps, guidance: as for `act`.

        Raises:
            UserError: as `act`; the policy has not seen an observation yet.
        """
        self.model.check_guidance(guidance)
        seen = [state.seen for state in self._states] if observation is None else self._seen_with(observation)
        if any(one.frame < 0 for one in seen):
            raise UserError("the policy has not seen anything since `reset`: pass an observation")
        chunk = Chunk(self._decide(self._states, seen, steps, guidance), self._frame_of(seen))
        if observation is not None:
            self._remember(seen)
        return Chunk(chunk.actions[0], chunk.decided_at) if self._is_single else chunk

    def observe(self, observation: RawObservation) -> None:
        """Remember the observation of a frame without deciding: as `act`, and with the same errors."""
        self._remember(self._seen_with(observation))

    def draw_chunks(
        self, data: str | Path | None = None, *, episode: int | None = None, steps: Sequence[int] = (1,), seed: int = 0
    ) -> Image.Image:
        """Draw the chunks that this policy predicts in an episode of demonstrations, over the actions that were shown.

        See `chunk_picture.draw_chunks`.
        """
        from .chunk_picture import draw_chunks

        return draw_chunks(self, data, episode=episode, steps=steps, seed=seed)

    def _seen_with(self, observation: RawObservation) -> list[_Seen]:
        """Return what each environment's policy has seen with one more observation, without remembering it."""
        split, history = self._split(observation), self.task.history
        seen = [state.seen.and_then(one, history) for state, one in zip(self._states, split, strict=True)]
        if first := [one for one in seen if one.frame == 0]:  # the later ones have its form
            self._conditions(first)
        return seen

    def _conditions(self, seen: Sequence[_Seen]) -> Cond:
        """Return the raw conditions of some environments, or raise UserError if they are not as in training."""
        arrays = {name: np.stack([[frame[name] for frame in one.last] for one in seen]) for name in self.task.names}
        return self.task.raw_conditions(arrays)

    def _remember(self, seen: Sequence[_Seen]) -> None:
        for state, one in zip(self._states, seen, strict=True):
            state.seen = one

    def _split(self, observation: RawObservation) -> list[Observation]:
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
        self, states: Sequence[_EnvironmentState], seen: Sequence[_Seen], steps: int, guidance: float
    ) -> Float[np.ndarray, "rows chunk action"]:
        """Sample the next actions of some environments, given their last observations, in one batch."""
        cond = self._conditions(seen)
        noise = torch.cat([sample_noise(state.seed, [state.decisions], self.task.shape) for state in states])
        chunks: np.ndarray = self.model.sample_from(noise, steps, cond, guidance)
        for state in states:
            state.decisions += 1
        return chunks


def _checked_ensemble(ensemble: float | int | None, execute: int | None) -> float | None:
    """Return the decay of temporal ensembling, or raise UserError where it is none."""
    if ensemble is None:
        return None
    if isinstance(ensemble, bool) or not isinstance(ensemble, numbers.Real) or not math.isfinite(ensemble):
        raise UserError(f"ensemble must be None or a finite number, such as 0.01, not {ensemble}")
    if execute not in (None, 1):
        raise UserError(f"with ensemble the policy decides in every frame: leave execute out, which is {execute}")
    return float(ensemble)
