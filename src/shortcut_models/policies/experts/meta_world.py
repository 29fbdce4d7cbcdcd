"""The scripted policies that come with Meta-World."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

from ..environments import Environment, MetaWorld, Observation
from .base import Expert


class MetaWorldExpert(Expert):
    """Meta-World's scripted policy of the task, which reads the observation `state`."""

    def begin(self, environment: Environment) -> None:
        """Choose the script of the environment's task."""
        from metaworld.policies import ENV_POLICY_MAP  # installed, as the environment is open

        assert isinstance(environment, MetaWorld)
        self.space = environment.action_space
        scripts: Any = ENV_POLICY_MAP
        self.script = scripts[environment.task]()

    def act(self, observation: Observation) -> Float[np.ndarray, "4"]:
        """Return the script's action, clipped to the bounds as the simulator does."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the script warns of actions beyond the bounds
            action = self.script.get_action(observation["state"].astype(np.float64))
        wanted = np.clip(action, self.space.low, self.space.high).astype(np.float32)
        self._gripper = float(wanted[3])
        return wanted

    def perturbation(self, environment: Environment, random: np.random.Generator) -> Float[np.ndarray, "4"]:
        """Return a random movement of the hand; the gripper keeps the script's last action."""
        return np.append(random.uniform(self.space.low[:3], self.space.high[:3]), self._gripper)

    def noise(self, environment: Environment) -> Float[np.ndarray, "4"]:
        """Return a fifth of the hand's speed, and 0 for the gripper, which would drop things.

        At `--noise 1` the scripts still opened five of five drawers, and pushed two of five pucks to the goal.
        """
        return np.array([0.2, 0.2, 0.2, 0.0])
