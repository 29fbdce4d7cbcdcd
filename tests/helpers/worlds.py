"""Small environments and a policy without a network, for tests of rollouts; child processes import them, too."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shortcut_models.policies.environments import Box, Environment, Observation, Step
from shortcut_models.policies.experts import Expert
from shortcut_models.policies.workers import WorkerFactory


class Walk(Environment):
    """A walk from a place that follows from the seed to 1; the return is -100 x the remaining distance."""

    observation_names = ("state",)
    metric_name = "return"
    max_episode_steps = 25
    render_fps = 20
    action_space = Box(np.array([-0.2], np.float32), np.array([0.2], np.float32))

    def __init__(self, observations: Sequence[str] = (), trouble: Mapping[int, str] | None = None) -> None:
        """trouble: by seed, what happens at frame 3: raise, die, exit, vanish, quit, nan, wait; or in reset: reset."""
        super().__init__(observations)
        self.trouble, self.closed = trouble or {}, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        seed = seed or 0
        self.kind, self.frame = self.trouble.get(seed, ""), 0
        self.place = float(np.random.default_rng(seed).uniform(-1, 0))
        if self.kind == "reset":
            raise RuntimeError("no world of this seed")
        return self._observe(), {}

    def step(self, action: np.ndarray) -> Step:
        self.frame += 1
        moved = float(self.clip_action(action)[0])
        self.place += moved
        if self.frame == 3:
            self._fail()
        return self._observe(), moved, self.place >= 1, self.frame >= self.max_episode_steps, {}

    def _observe(self) -> Observation:
        return {"state": np.array([self.place], np.float32)}

    def _fail(self) -> None:
        if self.kind == "raise":
            raise ZeroDivisionError("two lines\nof complaint")
        if self.kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "exit":
            os._exit(3)
        if self.kind == "vanish":
            os._exit(0)
        if self.kind == "quit":
            sys.exit("no display")
        if self.kind == "wait":
            wait_for_the_end()

    def metric(self) -> float:
        return float("nan") if self.kind == "nan" and self.frame > 3 else 100 * (self.place - 1)

    def render(self) -> np.ndarray:
        """Return a white picture with a bar from the left to the walker."""
        wall = np.full((40, 61, 3), 255, np.uint8)
        column = int(np.clip(30 + 30 * self.place, 0, 60))
        wall[10:30, : column + 1] = (200, 30, 30)
        return wall

    def close(self) -> None:
        self.closed = True


@dataclass
class Walker:
    """Walks at a speed that follows from the seed, the decision and the number of steps."""

    execute: int = 4
    seconds: float = 0.0
    """time of a decision, per sampling step"""
    decided: bool = field(default=False, init=False)

    def reset(self, environments: int | None = None, seed: int = 0) -> None:
        self.seed, self.frames = seed, 0

    def act(self, observation: Observation, steps: int = 1) -> np.ndarray:
        self.decided = self.frames % self.execute == 0
        if self.decided:
            time.sleep(self.seconds * steps)
        decision = self.frames // self.execute
        self.frames += 1
        speed = np.random.default_rng([self.seed, decision]).uniform(0.02, 0.08) + 0.001 * steps
        return np.array([speed], np.float32)


def factory(trouble: Mapping[int, str] | None = None) -> WorkerFactory:
    """Return what creates walkers and walks in other processes."""
    return WorkerFactory(Walker, functools.partial(Walk, trouble=trouble or {}))


def truth(steps: int, seed: int) -> tuple[float, int, str]:
    """Return score, frames and end of a walk, computed without an environment."""
    place = float(np.random.default_rng(seed).uniform(-1, 0))
    for frame in range(25):
        speed = np.float32(np.random.default_rng([seed, frame // 4]).uniform(0.02, 0.08) + 0.001 * steps)
        place += float(speed)
        if place >= 1 and frame < 24:
            return 100 * (place - 1), frame + 1, "done"
    return 100 * (place - 1), 25, "time limit"


def wait_for_the_end() -> None:
    """Wait, in a worker, until the process that started it ends, which ends this one, too."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        time.sleep(0.01)


def play_on(folder: Path, seeds: Sequence[int], steps: Sequence[int], workers: int) -> None:
    """Roll out, without an end after four seeds, in a process that a test kills."""
    from shortcut_models.policies.rollout import Records, roll_out

    endless = factory(dict.fromkeys(seeds[4:], "wait"))
    roll_out(endless, Records(folder), steps, seeds, workers=workers, quiet=True)


class SlowWalk(Walk):
    """A walk that with all seeds of a rollout but the first waits."""

    def __init__(self, observations: Sequence[str] = ()) -> None:
        super().__init__(observations, dict.fromkeys(range(1_000_001, 1_000_008), "wait"))


class BrittleWalk(Walk):
    """A walk that fails with the second seed of a rollout."""

    def __init__(self, observations: Sequence[str] = ()) -> None:
        super().__init__(observations, {1_000_001: "raise"})


class Plane(Walk):
    """An environment whose actions have two numbers."""

    action_space = Box(np.full(2, -0.2, np.float32), np.full(2, 0.2, np.float32))


class Blind(Walk):
    """An environment with another observation."""

    observation_names = ("sound",)


class Line(Environment):
    """A point that an action moves; the return is the seed modulo 4, minus the sum of its distances from 0."""

    observation_names = ("state", "image")
    metric_name, max_episode_steps, render_fps = "return", 12, 10
    action_space = Box(-np.ones(1, np.float32), np.ones(1, np.float32))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        self.seed, self.frames, self.at, self.far = seed or 0, 0, np.zeros(1, np.float32), 0.0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> Step:
        assert (np.abs(action) <= 1).all()
        self.frames, self.at = self.frames + 1, (self.at + action).astype(np.float32)
        distance = abs(float(self.at[0]))
        self.far += distance
        return self._observe(), -distance, False, self.frames == 12, {}

    def _observe(self) -> Observation:
        return {"state": self.at, "image": np.full((4, 4, 3), 10 * self.frames + self.seed, np.uint8)}

    def metric(self) -> float:
        return self.seed % 4 - self.far

    def render(self) -> np.ndarray:
        return np.zeros((2, 2, 3), np.uint8)


class LineExpert(Expert):
    """Moves the point back to 0, and counts its episodes."""

    episodes = 0

    def begin(self, environment: Environment) -> None:
        self.episodes += 1

    def act(self, observation: Observation) -> np.ndarray:
        return np.clip(-observation["state"], -1, 1)


class WalkExpert(Expert):
    """Wants a tenth of the remaining way."""

    def begin(self, environment: Environment) -> None:
        return

    def act(self, observation: Observation) -> np.ndarray:
        return np.clip((1 - observation["state"]) / 10, -0.2, 0.2).astype(np.float32)


WORLDS: dict[str, type[Walk]] = {
    "walk": Walk, "slow-walk": SlowWalk, "brittle-walk": BrittleWalk, "plane": Plane, "blind": Blind,
}  # fmt: skip


def open_environment(name: str, observations: Sequence[str] = ()) -> Environment:
    """Replace the package's function, which does not know these environments."""
    from shortcut_models.policies import environments

    return WORLDS[name](observations) if name in WORLDS else environments.open_environment(name, observations)


def know_worlds() -> None:
    """Let the commands of this process know these environments."""
    from shortcut_models.policies import rollout

    rollout.open_environment = open_environment


def demonstrate(folder: Path, environment: str = "walk", seeds: Sequence[int] = range(5)) -> None:
    """Write walks of the walker as demonstrations."""
    from shortcut_models.data.demonstrations import native

    native.prepare_folder(folder, environment, {})
    for seed in seeds:
        world, walker, states, actions, over = Walk(), Walker(), [], [], False
        observation, _ = world.reset(seed=seed)
        walker.reset(seed=seed)
        while not over:
            states.append(observation["state"])
            actions.append(walker.act(observation))
            observation, _, over, _, _ = world.step(actions[-1])
        native.write_episode(folder, seed, {"state": np.stack(states)}, np.stack(actions), world.metric())


def train_policy(run: Path, demonstrations: Path, steps: int = 20) -> None:
    """Train a small policy for a few steps."""
    from shortcut_models import Training, fit
    from shortcut_models.networks import MLPConfig
    from shortcut_models.objectives import Shortcut
    from shortcut_models.tasks import Imitation

    task = Imitation(data=str(demonstrations), history=2, chunk=4, execute=2).resolve()
    network = MLPConfig(width=16, depth=1).build(task.shape, task.conditions)
    training = Training(train_steps=steps, batch_size=16, warmup=3, device="cpu", precision="fp32", learning_rate=1e-2)
    fit(network, Shortcut(max_steps=16), task, training=training, run=run, quiet=True)
