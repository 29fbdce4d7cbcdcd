"""Environments of Gymnasium as a user writes them; child processes import them, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from shortcut_models.policies.environments import Environment

from .worlds import Walk

NOT_A_FACTORY = 3
LIMIT = 15


class Reach(gymnasium.Env):
    """A point on a line comes to 0, from a place that follows from the seed; the reward is minus the distance."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012
    observation_space: Any = spaces.Dict(
        {
            "state": spaces.Box(-9, 9, (1,), np.float64),
            "camera": spaces.Dict({"top": spaces.Box(0, 255, (4, 6, 3), np.uint8)}),
            "mission": spaces.Text(9),
        }
    )
    action_space: Any = spaces.Box(-0.5, 0.5, (1,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(1, 2, 1)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.place = self.place + action
        distance = abs(float(self.place[0]))
        info = {"is_success": distance < 0.2, "distance": distance, "note": "text"}
        return self._observe(), -distance, distance < 0.05, False, info

    def _observe(self) -> dict[str, Any]:
        top = np.full((4, 6, 3), int(np.clip(50 * self.place[0], 0, 255)), np.uint8)
        return {"state": self.place.copy(), "camera": {"top": top}, "mission": "reach"}

    def render(self) -> Any:
        return None if self.render_mode is None else np.full((20, 30, 3), 200, np.uint8)


def make_reach(render_mode: str | None = None) -> gymnasium.Env:
    """Return the environment with a time limit."""
    return TimeLimit(Reach(render_mode), LIMIT)


def blind_reach() -> gymnasium.Env:
    """Return one that draws no pictures."""
    return TimeLimit(Reach(), LIMIT)


class WideReach(Reach):
    """An environment whose actions have two numbers."""

    action_space = spaces.Box(-0.5, 0.5, (2,), np.float32)


class LongReach(Reach):
    """An environment whose state has two numbers."""

    observation_space = spaces.Dict({"state": spaces.Box(-9, 9, (2,), np.float64)})

    def _observe(self) -> dict[str, Any]:
        return {"state": np.repeat(self.place, 2)}


class LyingReach(Reach):
    """An environment that does not return what its observation space has."""

    def _observe(self) -> dict[str, Any]:
        return {"state": np.zeros(3)}


def make_walk(observations: Sequence[str] = ()) -> Environment:
    """Return an environment of the package's own kind."""
    return Walk(observations)


def no_environment() -> object:
    """Return something else."""
    return object()


def failing() -> gymnasium.Env:
    raise RuntimeError("no robot\nis connected")


def demonstrate_reach(folder: Path, episodes: int = 4, environment: str = "") -> None:
    """Write what goes to 0 in the environment."""
    from shortcut_models import demonstrations

    def play(seed: int) -> dict[str, Any]:
        world, states, actions, over = make_reach(), [], [], False
        observation, _ = world.reset(seed=seed)
        while not over:
            states.append(observation["state"])
            actions.append(np.clip(-0.5 * states[-1], -0.5, 0.5).astype(np.float32))
            observation, _, terminated, truncated, _ = world.step(actions[-1])
            over = terminated or truncated
        return {"observations": {"state": np.stack(states)}, "actions": np.stack(actions), "seed": seed}

    demonstrations.write(folder, map(play, range(episodes)), fps=12, environment=environment)
