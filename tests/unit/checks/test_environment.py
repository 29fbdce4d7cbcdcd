"""`check_environment` names what is wrong with an environment: one broken environment for each kind of fault."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from helpers.runs import refusal
from shortcut_models.checks import check_environment
from shortcut_models.policies.environments import ENVIRONMENTS, Box, Environment

pytestmark = pytest.mark.usefixtures("annotations_unchecked")


class Good(Environment):
    """A point on a line that actions move, right in every respect; each test breaks one."""

    observation_names = ("place", "image")
    metric_name, max_episode_steps, render_fps = "return", 12, 10
    action_space = Box(-np.ones(1, np.float32), np.ones(1, np.float32))
    closed = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.place, self.frames = np.random.default_rng(seed).uniform(-1, 1, 1), 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.place = self.place + self.clip_action(action)
        self.frames += 1
        return self.observe(), -float(abs(self.place[0])), False, self.frames >= self.max_episode_steps, {}

    def observe(self) -> dict[str, np.ndarray]:
        every = {"place": self.place.astype(np.float32), "image": np.full((4, 4, 3), self.frames, np.uint8)}
        return {name: every[name] for name in self.observations}

    def metric(self) -> float:
        return -float(abs(self.place[0]))

    def render(self) -> Any:
        return np.zeros((4, 4, 3), np.uint8)

    def close(self) -> None:
        type(self).closed += 1


def test_a_good_environment_passes_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "good", Good)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_environment(Good()) is None
        before = Good.closed
        check_environment(Good)
        check_environment("good")
    assert Good.closed - before == 2 * 4  # all that it opened: all observations, one, none, and a whole episode's


def changed(**members: Any) -> type[Environment]:
    return type("Broken", (Good,), members)


def with_step(change: Callable[..., Any]) -> dict[str, Any]:
    """Members of an environment whose steps are a function of itself and of the good ones."""
    return {"step": lambda self, action: change(self, *Good.step(self, action))}


OBSERVED = {"observe": lambda self: Good.observe(self) | {"place": self.place}}


class Global(Good):
    """An environment that draws from NumPy's global generator."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.place, self.frames = np.random.uniform(-1, 1, 1), 0  # noqa: NPY002
        return self.observe(), {}


class Remembering(Good):
    """An environment whose score is never set back."""

    best = 0.0

    def metric(self) -> float:
        self.best = min(self.best, super().metric()) - 1
        return self.best


class InPlace(Good):
    """An environment that fills one array again and again."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.array = np.zeros((4, 4, 3), np.uint8)
        return super().reset(seed=seed)

    def observe(self) -> dict[str, np.ndarray]:
        self.array[:] = self.frames
        return {name: self.array if name == "image" else value for name, value in super().observe().items()}


class Lenient(Good):
    """An environment that acts beyond its bounds."""

    def clip_action(self, action: Any) -> Any:
        return np.asarray(action)


class Careless(Good):
    """An environment that bounds actions but takes any."""

    def clip_action(self, action: Any) -> Any:
        return np.clip(np.nan_to_num(np.asarray(action)[:1]), -1, 1)


class Fixed(Good):
    """An environment that returns all observations, whichever were chosen."""

    def __init__(self, observations: Sequence[str] | None = ()) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (changed(metric_name=None), "Broken.metric_name is None: say what metric returns"),
        (changed(max_episode_steps=0), "Broken.max_episode_steps is int 0: give the actions"),
        (changed(render_fps=0), "Broken.render_fps is int 0"),
        (changed(observation_names="place"), "Broken.observation_names is str"),
        (changed(action_space=([-1], [1])), "Broken.action_space is tuple .*: give the bounds"),
        (changed(action_space=Box(-np.ones(1), np.ones(1))), "has a bound that is a NumPy array float64"),
        (changed(action_space=Box(np.ones(1, np.float32), -np.ones(1, np.float32))), r"has the bounds \[1.\] and \[-1"),
        (changed(__init__=lambda self, observations=(): None), "Broken.observations is None: call super"),
        (changed(reset=lambda self, seed=None: Good.reset(self, seed=seed)[0]), r"reset\(seed=0\) returns a dict"),
        (changed(reset=lambda self: Good.reset(self)), r"reset\(seed=0\) raises TypeError"),
        (changed(reset=lambda self, seed=None: (Good.reset(self, seed=seed)[0], None)), r"reset\(seed=0\) returns"),
        (changed(**OBSERVED), r"returns 'place' as a NumPy array float64 \[1\]: return images as uint8 \[height"),
        (changed(observe=lambda self: {"place": np.zeros(1, np.float32)}), r"\['place'\], and \['place', 'image'\]"),
        (changed(observe=lambda self: np.zeros(1)), "reset returns the observations a NumPy array"),
        (changed(observe=lambda self: Good.observe(self) | {"place": np.zeros(1 + min(self.frames, 1), np.float32)}),
         r"step returns 'place' as a NumPy array float32 \[2\], and reset as a NumPy array float32 \[1\]"),
        (changed(observe=lambda self: Good.observe(self) | {"place": np.full(1, np.nan, np.float32)}), "not finite"),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, r, t, i))), "step returns tuple .*: return"),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, np.float32(r), t, e, i))), "the reward float32"),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, np.nan, t, e, i))), "the reward float nan"),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, r, np.bool_(t), e, i))), "returns terminated as bool"),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, r, t, None, i))), "returns truncated as None: return"),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, r, t, e, None))), "returns info as None: return a dict"),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, r, t, False, i))),
         "an episode with max_episode_steps 12 is not truncated after 12 frames: return truncated="),
        (changed(**with_step(lambda self, o, r, t, e, i: (o, r, t, self.frames >= 10, i))), "is truncated after 10"),
        (changed(step=lambda self, action: Good.step(self, action.__imul__(0.5))), "step changes its action in place"),
        (changed(metric=lambda self: None), r"metric\(\) returns None: return a finite float"),
        (changed(metric=lambda self: np.nan), r"metric\(\) returns float nan"),
        (changed(metric=lambda self: 1 / 0), r"metric\(\) raises ZeroDivisionError"),
        (Remembering, "is not the same after the same episode: let reset start the score"),
        (InPlace, "step changes the 'image' that reset returned: return a new array in each frame"),
        (Global, "an episode differs the second time, with the same seed and actions: draw from np.random.default_rng"),
        (Lenient, r"acts beyond the bounds of action_space: begin with action = self.clip_action\(action\)"),
        (Careless, r"step\(\[nan\]\) acts: refuse it: begin with action = self.clip_action\(action\)"),
        (Fixed, r"Fixed\(\('place',\)\) has the observations \['place', 'image'\]: call super"),
        (changed(render=lambda self: np.zeros((4, 4))), r"render\(\) returns a NumPy array float64 \[4, 4\]: return"),
        (changed(close=lambda self: 1 / 0), r"close\(\) raises ZeroDivisionError"),
        (dict, "dict is not an Environment: derive it"),
    ],
)  # fmt: skip
def test_wrong_environments(kind: Any, message: str) -> None:
    with refusal(message):
        check_environment(kind)


def test_seeds_that_decide_nothing_are_doubtful() -> None:
    same = changed(reset=lambda self, seed=None, options=None: Good.reset(self, seed=0))
    with pytest.warns(UserWarning, match="episodes of the seeds 3 and 4 are the same") as found:
        check_environment(same)
    assert found[0].filename == __file__


def test_names_and_instances() -> None:
    with refusal("there is no environment 'nowhere'"):
        check_environment("nowhere")
    with refusal("int is not an Environment: derive it"):
        check_environment(3)  # type: ignore[arg-type]


def test_an_environment_of_gymnasium() -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="needs the extra gymnasium")
    world = gymnasium.make("Pendulum-v1", render_mode="rgb_array", max_episode_steps=20)
    check_environment(world)
    world.close()
