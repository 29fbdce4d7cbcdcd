"""From the spaces of Gymnasium to the names, vectors and images that policies know."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Part:
    """One array in what an environment returns as an observation."""

    keys: tuple[Any, ...]
    """those of the dicts that lead to it; none where the observation is the array itself"""
    shape: tuple[int, ...]
    """as the environment returns it"""
    is_image: bool

    def frame(self, array: np.ndarray) -> np.ndarray:
        """Return what the environment returned as an image [height, width, channels] or a vector float32 [size]."""
        if not self.is_image:
            return array.astype(np.float32).ravel()
        return array[..., None] if array.ndim == 2 else array

    def blank(self) -> np.ndarray:
        """Return a frame of zeros."""
        return self.frame(np.zeros(self.shape, np.uint8))


def observed_parts(space: Any, environment: str) -> dict[str, Part]:
    """Return the observations by name.

    Raises:
        UserError: there are none, or two have one name.
    """
    found: dict[str, Part] = {}
    for part in _parts(space, ()):
        name = "_".join(map(str, part.keys)) or ("image" if part.is_image else "state")
        if name in found:
            raise UserError(f"two observations of {environment} are called {name}: rename one in a wrapper")
        found[name] = part
    if not found:
        raise UserError(
            f"{environment} has the observation space {shown(space)}, and a policy sees a Box, or a Dict of them: put "
            f"it into a wrapper such as gymnasium.wrappers.FlattenObservation"
        )
    return found


def _parts(space: Any, keys: tuple[Any, ...]) -> Iterator[Part]:
    """Yield the parts that are a Box; others, such as texts, are left out."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _parts(inner, (*keys, key))
    elif isinstance(space, spaces.Box):
        is_colour = len(space.shape) == 3 and space.shape[2] in _CHANNELS
        yield Part(keys, space.shape, space.dtype == np.uint8 and (is_colour or len(space.shape) == 2))


def read_observation(observation: Any, part: Part, name: str, environment: str) -> np.ndarray:
    """Return one array of an observation: an image uint8 [height, width, channels], or a vector float32 [size].

    Raises:
        UserError: the environment returned something that its observation space does not have.
    """
    for key in part.keys:
        if not isinstance(observation, Mapping) or key not in observation:
            raise UserError(f"{environment} returned no {name}, which its observation space has: correct its code")
        observation = observation[key]
    array = np.asarray(observation)
    if array.shape != part.shape:
        raise UserError(
            f"{name} of {environment} is {list(array.shape)}, and {list(part.shape)} in its observation space: correct "
            f"its code"
        )
    return part.frame(array)


def action_box(space: Any, environment: str) -> Any:
    """Return the space of an action, or raise UserError where it is not continuous."""
    from gymnasium import spaces

    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return space
    raise UserError(
        f"an action of {environment} is {shown(space)}, and a policy's actions are continuous: use an environment "
        f"whose actions are a Box of floats"
    )


def shown(space: Any) -> str:
    """Return a space in a few words."""
    text = " ".join(str(space).split())
    return text if len(text) <= 80 else f"{text[:80]}..."
