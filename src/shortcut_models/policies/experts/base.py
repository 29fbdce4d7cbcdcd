"""What drives for `shortcut collect`."""

from __future__ import annotations

import abc

import numpy as np
from jaxtyping import Float

from ..environments import Environment, Observation


class Expert(abc.ABC):
    """Somebody who knows what to do in an environment: a controller, a script, a person."""

    @abc.abstractmethod
    def begin(self, environment: Environment) -> None:
        """Take over at the beginning of an episode, after `reset`. It may read all of the simulator's state."""

    @abc.abstractmethod
    def act(self, observation: Observation) -> Float[np.ndarray, "n"]:
        """The action that it wants on seeing this, float32, within the environment's bounds."""

    def noise(self, environment: Environment) -> Float[np.ndarray, "n"]:
        """What `--noise 1` is: the standard deviation of what is added to each number of an action.

        It should be about the most that the expert recovers from.
        """
        return (environment.high - environment.low) / 2

    def blunder(self, environment: Environment, random: np.random.Generator) -> Float[np.ndarray, "n"]:
        """An action that is held for a while, and that the expert would not have chosen: see `--blunders`."""
        return random.uniform(environment.low, environment.high)

    def takes_over(self) -> bool:
        """Whether a policy that acts in its place has got so far off that it acts itself, after `act` of that frame."""
        return False

    def close(self) -> None:
        """Let go of what it holds."""
        return
