"""Checks for networks, objectives, tasks and environments of your own: what is wrong with them, in plain words."""

from .environment import check_environment
from .network import check_network
from .objective import check_objective
from .task import check_task

__all__ = ["check_environment", "check_network", "check_objective", "check_task"]
