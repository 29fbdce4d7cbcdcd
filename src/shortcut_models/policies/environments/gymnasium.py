"""Any environment of Gymnasium: one that is registered by an id, or that a user's own code makes."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ...errors import UserError, first_line
from .base import Box, Environment, Observation, Reset, ScoreError, Step
from .spaces import action_box, observed_parts, read_observation

MAX_EPISODE_STEPS = 1000  # frames of an episode whose environment does not have a time limit
FPS = 30  # frames per second of an environment that does not say
SUCCESS = ("is_success", "success")  # what `info` calls it
INFO = "info:"
SCORES = f"return, success, or {INFO}KEY"


class GymEnvironment(Environment):
    """An environment of Gymnasium, with the score that judges an episode.

    Observations: a part of a Dict has its key as a name, parts of a Dict in a Dict both keys, joined by "_". A Box is
    called `image` where it is uint8 [height, width, channels] or [height, width], and `state` otherwise. Vectors are
    flattened, and float32. Parts that are not a Box are left out. Actions are those of a Box, flattened.

    The score is one of

    - `return`: the sum of the rewards;
    - `success`: 1 once `info["is_success"]` or `info["success"]` was true, else 0;
    - `info:KEY`: the last value of `info[KEY]`.
    """

    def __init__(
        self, environment: Any, observations: Sequence[str] | None = (), *, name: str = "", score: str | None = None,
        max_episode_steps: int | None = None,
    ) -> None:  # fmt: skip
        """Wrap an environment.

        Args:
            environment: a `gymnasium.Env`, or a function that returns one; for videos, one that was made with
                render_mode="rgb_array".
            observations: names that `reset` and `step` return; () for all, None for none.
            name: how messages call it; "" for the name of its class.
            score: as above; None for `return`.
            max_episode_steps: actions after which an episode ends; None for the environment's own limit, or 1,000, with
                a warning, where it does not have one.

        Raises:
            UserError: it is not an environment, an observation or the score does not exist, or the actions are not
                continuous.
        """
        self.simulator = made = _checked(environment() if callable(environment) else environment, name)
        self.name = name or type(made.unwrapped).__name__
        self._parts = observed_parts(getattr(made, "observation_space", None), self.name)
        self.observation_names = tuple(self._parts)  # type: ignore[misc]  # here it is of the instance
        self._box = action_box(getattr(made, "action_space", None), self.name)
        self.action_space = Box(self._box.low.astype(np.float32).ravel(), self._box.high.astype(np.float32).ravel())
        self.score, self.metric_name = _checked_score(score)  # type: ignore[misc]
        self.max_episode_steps = _limit(made, max_episode_steps, self.name)  # type: ignore[misc]
        rate = made.metadata.get("render_fps")
        self.render_fps = max(round(rate), 1) if isinstance(rate, (int, float)) and rate > 0 else FPS  # type: ignore[misc]
        self.facts = {"score": self.score, "max_episode_steps": self.max_episode_steps}
        self.frames, self._found, self._keys = 0, 0.0, dict[str, None]()
        self._was_scored = False
        super().__init__(observations)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode that follows from the seed, as far as the environment's own `reset` does."""
        observation, info = self.simulator.reset(seed=seed, options=options)
        self.frames, self._found, self._was_scored = 0, 0.0, self.score == "return"
        return self._observe(observation), info

    def step(self, action: Float[np.ndarray, "n"]) -> Step:
        """Act for one frame; ScoreError where the episode ends without what scores it."""
        clipped = self.clip_action(action).reshape(self._box.shape).astype(self._box.dtype)
        clipped = np.clip(clipped, self._box.low, self._box.high)  # float32 may be beyond a bound of another precision
        observation, reward, terminated, truncated, info = self.simulator.step(clipped)
        self.frames += 1
        self._score(float(reward), info)
        is_over = bool(truncated) or self.frames >= self.max_episode_steps
        if (terminated or is_over) and not self._was_scored:
            wanted = " or ".join(SUCCESS) if self.score == "success" else self.metric_name
            known = (
                f"choose one of return, {', '.join(INFO + key for key in self._keys)}" if self._keys else "use return"
            )
            raise ScoreError(f"no info of {self.name} has {wanted} in a whole episode: for the score, {known}")
        return self._observe(observation), float(reward), bool(terminated), is_over, info

    def _score(self, reward: float, info: Mapping[str, Any]) -> None:
        """Update the score with what a frame returned."""
        self._keys.update(dict.fromkeys(str(key) for key, value in info.items() if _as_number(value) is not None))
        if self.score == "return":
            self._found += reward
            return
        for key in SUCCESS if self.score == "success" else (self.metric_name,):
            if key not in info:
                continue
            value = _as_number(info[key])
            if value is None:
                raise ScoreError(
                    f"info[{key!r}] of {self.name} is {type(info[key]).__name__}, not a number: choose another"
                )
            self._found = max(self._found, float(value > 0)) if self.score == "success" else value
            self._was_scored = True

    def metric(self) -> float:
        return self._found

    def _observe(self, observation: Any) -> Observation:
        return {name: read_observation(observation, self._parts[name], name, self.name) for name in self.observations}

    def blank(self, names: Sequence[str]) -> Observation:
        """Return frames of zeros, with the shapes and types of some observations."""
        return {name: self._parts[name].blank() for name in names}

    def render(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """Return a picture; UserError where the environment does not draw one."""
        try:
            picture = self.simulator.render()
        except Exception as error:  # of a missing package, for example
            raise UserError(f"{self.name} cannot draw a picture ({first_line(error)}): leave the video out") from None
        if not (isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] == (3,)):
            raise UserError(
                f"{self.name} does not draw pictures: leave the video out, or make it with render_mode='rgb_array'"
            )
        return picture

    def close(self) -> None:
        self.simulator.close()


def _checked(made: Any, name: str) -> Any:
    """Return an environment, or raise UserError where it is not one of Gymnasium."""
    gymnasium = import_gymnasium(name or "this environment")
    if isinstance(made, gymnasium.Env):
        return made
    kind = f"{type(made).__module__}.{type(made).__qualname__}"
    raise UserError(f"{name or 'the environment'} is {kind}, not a gymnasium.Env: return one, alone and of Gymnasium")


def import_gymnasium(name: str) -> Any:
    """Return the package, or raise UserError that says how to install it for an environment."""
    try:
        import gymnasium
    except ImportError:
        raise UserError(f"{name} needs an extra: pip install 'shortcut-models[gymnasium]'") from None
    return gymnasium


def _checked_score(score: str | None) -> tuple[str, str]:
    """Return a score and what its numbers are called."""
    score = score or "return"
    if score in ("return", "success"):
        return score, score
    if score.startswith(INFO) and score != INFO:
        return score, score.removeprefix(INFO)
    raise UserError(f"score must be {SCORES}, not {score!r}")


def _limit(made: Any, wanted: int | None, name: str) -> int:
    """Return the actions after which an episode ends."""
    if wanted is not None:
        if wanted < 1:
            raise UserError(f"max-episode-steps must be at least 1, not {wanted}")
        return wanted
    limits = [made.spec and made.spec.max_episode_steps]
    for attribute in ("_max_episode_steps", "max_episode_steps"):  # of the wrapper TimeLimit, and of one's own
        if made.has_wrapper_attr(attribute):
            limits.append(made.get_wrapper_attr(attribute))
    known = [int(limit) for limit in limits if isinstance(limit, (int, np.integer)) and limit > 0]
    if not known:
        warnings.warn(
            f"{name} does not have a time limit: an episode ends after {MAX_EPISODE_STEPS:,} frames at the latest; "
            f"--max-episode-steps sets another limit",
            stacklevel=3,
        )
    return min(known, default=MAX_EPISODE_STEPS)


def _as_number(value: Any) -> float | None:
    """Return a number, or an array of one, as a float; None where it is something else, or not finite."""
    array = np.asarray(value) if isinstance(value, (bool, int, float, np.generic, np.ndarray)) else None
    if array is None or array.size != 1 or array.dtype.kind not in "biuf" or not math.isfinite(array.item()):
        return None
    return float(array.item())


def make(identifier: str) -> Any:
    """Return a registered environment that draws pictures, if it can; raise UserError where it cannot be made."""
    gymnasium = import_gymnasium(identifier)
    spec = gymnasium.spec(identifier)
    try:
        creator = spec.entry_point
        if isinstance(creator, str):
            creator = gymnasium.envs.registration.load_env_creator(creator)
        draws = "rgb_array" in getattr(creator, "metadata", {}).get("render_modes", ())
        mode = {"render_mode": "rgb_array"} if draws else {}
        return gymnasium.make(spec, disable_env_checker=True, **mode)
    except Exception as error:  # each has its own, for a missing package for example
        raise UserError(f"{identifier} cannot be opened: {first_line(error)}") from None


def registered_ids() -> list[str]:
    """Return the ids of Gymnasium's environments; none where it is not installed."""
    try:
        return list(import_gymnasium("").registry)
    except UserError:
        return []


def is_registered(identifier: str) -> bool:
    """Return whether Gymnasium is installed and has an environment of this id."""
    return identifier in registered_ids()
