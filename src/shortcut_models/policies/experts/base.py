"""The interface of the experts of `shortcut collect`."""

import abc

import numpy as np
from jaxtyping import Float

from ..environments import Environment, Observation


class Expert(abc.ABC):
    """A controller, a script or a person that acts in an environment."""

    @abc.abstractmethod
    def begin(self, environment: Environment) -> None:
        """Start an episode, after the environment's `reset`; it may read all of the simulator's state."""

    @abc.abstractmethod
    def act(self, observation: Observation) -> Float[np.ndarray, "n"]:
        """Return the action that it wants for this frame, float32, within the environment's bounds."""

    def noise(self, environment: Environment) -> Float[np.ndarray, "n"]:
        """Return the standard deviation of `--noise 1` for each number of an action.

        It should be about the most that the expert recovers from.
        """
        return (environment.action_space.high - environment.action_space.low) / 2

    def perturbation(self, environment: Environment, random: np.random.Generator) -> Float[np.ndarray, "n"]:
        """Return an action that is held for a while, and that the expert would not choose: see `--perturbations`."""
        return random.uniform(environment.action_space.low, environment.action_space.high)

    def takes_over(self) -> bool:
        """Return whether the expert acts in this frame instead of the learner; called after `act`."""
        return False

    def close(self) -> None:
        """Release what it holds."""
        return
