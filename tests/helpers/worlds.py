"""A small world and a policy without a network, for tests of what judges policies; other processes import them, too."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shortcut_models.policies.environments import Environment, Observation
from shortcut_models.policies.workers import Setting


class Walk(Environment):
    """Somebody walks from where the seed says to 1; the return is minus the distance that is left, times 100."""

    sees = ("state",)
    measure = "return"
    max_frames = 25
    frames_per_second = 20
    low = np.array([-0.2], np.float32)
    high = np.array([0.2], np.float32)

    def __init__(self, observations: Sequence[str] = (), trouble: Mapping[int, str] | None = None) -> None:
        """trouble: by seed, what happens at frame 3: raise, die, exit, nan, slow, or reset: at the beginning."""
        super().__init__(observations)
        self.trouble, self.closed = trouble or {}, False

    def reset(self, seed: int) -> Observation:
        self.kind, self.frame = self.trouble.get(seed, ""), 0
        self.place = float(np.random.default_rng(seed).uniform(-1, 0))
        if self.kind == "reset":
            raise RuntimeError("no world of this seed")
        return {"state": np.array([self.place], np.float32)}

    def step(self, action: np.ndarray) -> tuple[Observation, bool]:
        self.frame += 1
        self.place += float(np.clip(action, self.low, self.high)[0])
        if self.frame == 3:
            self._fail()
        return {"state": np.array([self.place], np.float32)}, self.place >= 1

    def _fail(self) -> None:
        if self.kind == "raise":
            raise ZeroDivisionError("two lines\nof complaint")
        if self.kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "exit":
            os._exit(3)
        if self.kind == "slow":
            time.sleep(60)

    def score(self) -> float:
        return float("nan") if self.kind == "nan" and self.frame > 3 else 100 * (self.place - 1)

    def picture(self) -> np.ndarray:
        """A white wall, and a bar that is as far as the walker."""
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
    """that a decision takes, for each step"""
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


def setting(trouble: Mapping[int, str] | None = None, seconds: float = 0.0) -> Setting:
    """Walkers and walks, for every process anew."""
    return Setting(functools.partial(Walker, seconds=seconds), functools.partial(Walk, trouble=trouble or {}))


def truth(steps: int, seed: int) -> tuple[float, int, str]:
    """Score, frames and end of a walk, by arithmetic alone."""
    place = float(np.random.default_rng(seed).uniform(-1, 0))
    for frame in range(25):
        speed = np.float32(np.random.default_rng([seed, frame // 4]).uniform(0.02, 0.08) + 0.001 * steps)
        place += float(speed)
        if place >= 1 and frame < 24:
            return 100 * (place - 1), frame + 1, "done"
    return 100 * (place - 1), 25, "time limit"


def play_on(folder: Path, seeds: Sequence[int], steps: Sequence[int], workers: int, seconds: float) -> None:
    """A rollout, for a process that is to be killed."""
    from shortcut_models.policies.records import Records
    from shortcut_models.policies.rollout import roll_out

    roll_out(setting(seconds=seconds), Records(folder), steps, seeds, workers=workers, quiet=True)


class SlowWalk(Walk):
    """A walk that takes its time."""

    def step(self, action: np.ndarray) -> tuple[Observation, bool]:
        time.sleep(0.02)
        return super().step(action)


class BrittleWalk(Walk):
    """A walk that fails in the second fresh world."""

    def __init__(self, observations: Sequence[str] = ()) -> None:
        super().__init__(observations, {1_000_001: "raise"})


class Plane(Walk):
    """A world with two numbers to an action."""

    low, high = np.full(2, -0.2, np.float32), np.full(2, 0.2, np.float32)


class Blind(Walk):
    """A world that shows something else."""

    sees = ("sound",)


WORLDS: dict[str, type[Walk]] = {
    "walk": Walk, "slow-walk": SlowWalk, "brittle-walk": BrittleWalk, "plane": Plane, "blind": Blind,
}  # fmt: skip


def open_environment(name: str, observations: Sequence[str] = ()) -> Environment:
    """In the place of the package's own, which does not know these worlds."""
    from shortcut_models.policies import environments

    return WORLDS[name](observations) if name in WORLDS else environments.open_environment(name, observations)


def know_worlds() -> None:
    """Let the commands of this process know these worlds."""
    from shortcut_models.policies import rollout

    rollout.open_environment = open_environment


def demonstrate(folder: Path, environment: str = "walk", seeds: Sequence[int] = range(5)) -> None:
    """Walks by the walker, as demonstrations."""
    from shortcut_models.data.demonstrations import native as own

    own.begin(folder, environment, {})
    for seed in seeds:
        world, walker, states, actions, over = Walk(), Walker(), [], [], False
        seen = world.reset(seed)
        walker.reset(seed=seed)
        while not over:
            states.append(seen["state"])
            actions.append(walker.act(seen))
            seen, over = world.step(actions[-1])
        own.write_episode(folder, seed, {"state": np.stack(states)}, np.stack(actions), world.score())


def train_policy(run: Path, demonstrations: Path, steps: int = 20) -> None:
    """A small policy that has learned a little."""
    from shortcut_models import Training, fit
    from shortcut_models.networks import MLPConfig
    from shortcut_models.objectives import Shortcut
    from shortcut_models.tasks import Imitation

    task = Imitation(data=str(demonstrations), history=2, chunk=4, execute=2).resolve()
    network = MLPConfig(width=16, depth=1).build(task.shape, task.conditions)
    training = Training(train_steps=steps, batch_size=16, warmup=3, device="cpu", precision="fp32", learning_rate=1e-2)
    fit(network, Shortcut(max_steps=16), task, training, run=run, quiet=True)
