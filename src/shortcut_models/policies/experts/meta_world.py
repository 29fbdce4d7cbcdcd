"""The scripts that come with Meta-World."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

from ..environments import Environment, MetaWorld, Observation
from .base import Expert


class MetaWorldExpert(Expert):
    """Meta-World's scripted policy of the task: it reads where things are from the observation `state`."""

    def begin(self, environment: Environment) -> None:
        """Take the script of the environment's task."""
        from metaworld.policies import ENV_POLICY_MAP  # it is there: the environment is open

        assert isinstance(environment, MetaWorld)
        self.low, self.high = environment.low, environment.high
        scripts: Any = ENV_POLICY_MAP
        self.script = scripts[environment.task]()

    def act(self, observation: Observation) -> Float[np.ndarray, "4"]:
        """What the script wants, cut to the bounds, as the simulator cuts it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it will be cut
            action = self.script.get_action(observation["state"].astype(np.float64))
        wanted = np.clip(action, self.low, self.high).astype(np.float32)
        self._gripper = float(wanted[3])
        return wanted

    def blunder(self, environment: Environment, random: np.random.Generator) -> Float[np.ndarray, "4"]:
        """The hand goes anywhere; the gripper does what the script wanted last."""
        return np.append(random.uniform(self.low[:3], self.high[:3]), self._gripper)

    def noise(self, environment: Environment) -> Float[np.ndarray, "4"]:
        """A fifth of the hand's speed, and none for the gripper, which would let things fall.

        At `--noise 1` the scripts still opened five of five drawers, and pushed two of five pucks home.
        """
        return np.array([0.2, 0.2, 0.2, 0.0])
