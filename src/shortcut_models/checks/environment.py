"""`check_environment`: what every environment owes the policies that act in it."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import UserError
from ..policies.environments import Box, Environment, GymEnvironment, open_environment
from ..randomness import fixed_randomness, seed_all
from .findings import calling, describe, doubt, fail, kind_of

FRAMES = 8


def check_environment(environment: Any) -> None:
    """Check an environment of your own; return None if all is well.

    It plays a few short episodes and a whole one, and looks at: what `reset` and `step` return; whether an episode
    follows from its seed alone; bounds of actions; the metric, the time limit and the picture.

    Args:
        environment: an `Environment` or a `gymnasium.Env`, which is left open; or the class of an `Environment`, or a
            name, which is opened and closed.

    Raises:
        UserError: what is wrong, and what to change. What is only doubtful is a warning.
    """
    make: Callable[..., Any] | None = None
    if isinstance(environment, str):
        name = environment
        make = lambda observations=(): open_environment(name, observations)
    elif isinstance(environment, type):
        if not issubclass(environment, Environment):
            fail(environment.__name__, "is not an Environment", "derive it from policies.environments.Environment")
        make = environment
    elif hasattr(environment, "observation_space"):  # of Gymnasium
        environment = GymEnvironment(environment)
    with fixed_randomness(), contextlib.ExitStack() as opened:

        def new(observations: Any) -> Any:
            assert make is not None
            with calling("the environment", "let it open with the argument observations alone"):
                world = make(observations)
            opened.callback(_close, world)
            return world

        world: Any = environment if make is None else new(())
        check_attributes(world)
        check_episode(world)
        check_seeds(world)
        check_actions(world)
        if make is not None:
            check_choice(world, new)
        check_whole_episode(world if make is None else new(None))
        check_picture(world)


def _close(world: Any) -> None:
    with calling("close()", "release the simulator, without an error"):
        world.close()


def check_attributes(world: Any) -> None:
    """Check what the class says of observations, actions, metric and time."""
    name = type(world).__name__
    if not isinstance(world, Environment):
        fail(name, "is not an Environment", "derive it from policies.environments.Environment")
    wanted = {
        "observation_names": (tuple, 'name them: observation_names = ("image", "state")'),
        "action_space": (Box, "give the bounds: action_space = Box(low, high), float32"),
        "metric_name": (str, 'say what metric returns: metric_name = "return"'),
        "max_episode_steps": (int, "give the actions after which an episode is truncated"),
        "render_fps": (int, "give the frames per second of simulated time"),
        "observations": (tuple, "call super().__init__(observations)"),
    }
    for attribute, (kind, change) in wanted.items():
        value = getattr(world, attribute, None)
        if not isinstance(value, kind) or (isinstance(value, int) and value < 1):
            fail(f"{name}.{attribute}", f"is {describe(value)}", change)
    low, high = world.action_space.low, world.action_space.high
    for bound in (low, high):
        if not isinstance(bound, np.ndarray) or bound.dtype != np.float32 or bound.ndim != 1:
            fail(f"{name}.action_space", f"has a bound that is {describe(bound)}", "give both as float32 [action]")
    if low.shape != high.shape or not (low < high).all() or not np.isfinite([low, high]).all():
        fail(f"{name}.action_space", f"has the bounds {low} and {high}", "give finite ones, low below high")


def _middle(world: Environment) -> np.ndarray:
    return ((world.action_space.low + world.action_space.high) / 2).astype(np.float32)


def _actions(world: Environment) -> np.ndarray:
    """Return random actions within the bounds, [FRAMES, action], the same each time."""
    space = world.action_space
    return np.random.default_rng(0).uniform(space.low, space.high, (FRAMES, space.low.size)).astype(np.float32)


def _reset(world: Environment, seed: int | None) -> Mapping[str, np.ndarray]:
    with calling(f"reset(seed={seed})", "take reset(*, seed=None, options=None)"):
        found: Any = world.reset(seed=seed)
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], dict):
        fail(f"reset(seed={seed})", f"returns {describe(found)}", "return observation, info, and info is a dict")
    check_observation("reset", world, found[0])
    return found[0]


def _step(
    world: Environment, action: np.ndarray, change: str = "act for one frame"
) -> tuple[Mapping[str, np.ndarray], float, bool, bool]:
    with calling(f"step({action.tolist()})", change):
        found: Any = world.step(action)
    if not isinstance(found, tuple) or len(found) != 5:
        fail("step", f"returns {describe(found)}", "return observation, reward, terminated, truncated, info")
    observation, reward, terminated, truncated, info = found
    check_observation("step", world, observation)
    if type(reward) is not float or not np.isfinite(reward):
        fail("step", f"returns the reward {describe(reward)}", "return a finite float: float(reward)")
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if type(value) is not bool:
            fail("step", f"returns {name} as {describe(value)}", f"return True or False: bool({name})")
    if not isinstance(info, dict):
        fail("step", f"returns info as {describe(info)}", "return a dict")
    return observation, reward, terminated, truncated


def check_observation(what: str, world: Environment, found: Any) -> None:
    """Check the names, kinds and shapes of an observation."""
    if not isinstance(found, Mapping) or set(found) != set(world.observations):
        given = sorted(found) if isinstance(found, Mapping) else describe(found)
        fail(what, f"returns the observations {given}, and {list(world.observations)} were chosen",
             "return a dict with these names: self.observations")  # fmt: skip
    for name, value in found.items():
        is_image = isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3
        is_vector = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == 1
        if not (is_image or is_vector):
            fail(what, f"returns {name!r} as {describe(value)}",
                 "return images as uint8 [height, width, channels], vectors as float32 [size]")  # fmt: skip
        if is_vector and not np.isfinite(value).all():
            fail(what, f"returns {name!r} with numbers that are not finite", "put a number where nothing is known")


def _play(
    world: Environment, seed: int, actions: np.ndarray, change: str = "act for one frame"
) -> list[tuple[Mapping[str, np.ndarray], float]]:
    """Return the observations and rewards of the first frames of an episode."""
    found = [(_reset(world, seed), 0.0)]
    for action in actions:
        observation, reward, terminated, truncated = _step(world, action, change)
        found.append((observation, reward))
        if terminated or truncated:
            break
    return found


def check_episode(world: Environment) -> None:
    """Check the first frames: observations keep their kind, stay as they were given, and have a metric."""
    first = _reset(world, 0)
    kept = {name: value.copy() for name, value in first.items()}
    check_metric(world)
    for action in _actions(world):
        given = action.copy()
        observation, _, terminated, truncated = _step(world, action)
        check_metric(world)
        for name, value in observation.items():
            if (value.shape, value.dtype) != (kept[name].shape, kept[name].dtype):
                fail("step", f"returns {name!r} as {describe(value)}, and reset as {describe(kept[name])}",
                     "keep one shape and dtype")  # fmt: skip
        if not np.array_equal(action, given):
            fail("step", "changes its action in place", "compute a new array")
        if terminated or truncated:
            break
    changed = [name for name, value in first.items() if not np.array_equal(value, kept[name])]
    if changed:
        fail("step", f"changes the {changed[0]!r} that reset returned", "return a new array in each frame: .copy()")
    _reset(world, None)


def check_metric(world: Environment) -> float:
    """Check that the score is a finite float, and return it."""
    with calling("metric()", "return the score of the episode so far"):
        found: Any = world.metric()
    if type(found) is not float or not np.isfinite(found):
        fail("metric()", f"returns {describe(found)}", "return a finite float: float(value)")
    return found


def _same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(
        r == s and all(np.array_equal(x[name], y[name]) for name in x) for (x, r), (y, s) in zip(a, b, strict=True)
    )


def check_seeds(world: Environment) -> None:
    """Check that an episode follows from its seed and its actions alone."""
    actions = _actions(world)
    seed_all(1)
    first, score = _play(world, 3, actions), check_metric(world)
    seed_all(2)
    other = _play(world, 4, actions)
    if not _same(first, _play(world, 3, actions)):
        fail("an episode", "differs the second time, with the same seed and actions",
             "draw from np.random.default_rng(seed) made in reset, and set everything back there")  # fmt: skip
    if check_metric(world) != score:
        fail("metric()", "is not the same after the same episode", "let reset start the score from the beginning")
    if world.observations and _same(first, other):
        doubt("episodes of the seeds 3 and 4 are the same: let something follow from the seed, or all scores are alike")


def check_actions(world: Environment) -> None:
    """Check that actions are cut to their bounds, and that those of another size or not finite are refused."""
    space = world.action_space
    beyond = np.stack([space.high + 10, space.low - 10]).astype(np.float32)
    cut = "begin with action = self.clip_action(action), which cuts actions to their bounds"
    if not _same(_play(world, 3, beyond, cut), _play(world, 3, np.stack([space.high, space.low]))):
        fail("step", "acts beyond the bounds of action_space", cut)
    middle = _middle(world)
    for wrong in (np.full_like(middle, np.nan), np.append(middle, middle[:1])):
        _reset(world, 3)
        try:
            world.step(wrong)
        except UserError:
            continue
        except Exception as error:
            fail(f"step({wrong.tolist()})", f"raises {kind_of(error)}", "begin with action = self.clip_action(action)")
        fail(f"step({wrong.tolist()})", "acts", "refuse it: begin with action = self.clip_action(action)")


def check_choice(world: Environment, new: Callable[[Any], Any]) -> None:
    """Check that observations can be chosen: one alone, none, and no unknown one."""
    first = world.observation_names[:1]
    for chosen, expected in ((first, first), (None, ())):
        other = new(chosen)
        if tuple(getattr(other, "observations", (None,))) != expected:
            fail(f"{type(world).__name__}({chosen})", f"has the observations {list(other.observations)}",
                 "call super().__init__(observations)")  # fmt: skip
        _reset(other, 0)
        _step(other, _middle(other))
    try:
        new(("no such observation",))
    except UserError:
        return
    fail(f"{type(world).__name__}", "opens with an observation that it does not offer",
         "call super().__init__(observations)")  # fmt: skip


def check_whole_episode(world: Environment) -> None:
    """Check that an episode ends by its time limit at the latest, and that only it is called truncated."""
    _reset(world, 5)
    action, most = _middle(world), world.max_episode_steps
    for frame in range(1, most + 1):
        _, _, terminated, truncated = _step(world, action)
        if truncated != (frame >= most) and not terminated:
            found = "is truncated" if truncated else "is not truncated"
            fail(f"an episode with max_episode_steps {most}", f"{found} after {frame} frames",
                 "return truncated=self.frames >= self.max_episode_steps, with frames set to 0 in reset")  # fmt: skip
        if terminated or truncated:
            return


def check_picture(world: Environment) -> None:
    """Check that there is a picture for people."""
    _reset(world, 0)
    with calling("render()", "return a picture of the environment"):
        found: Any = world.render()
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3:
        fail("render()", f"returns {describe(found)}", "return uint8 [height, width, 3]")
