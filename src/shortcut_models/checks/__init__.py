"""Checks for networks, objectives, tasks and environments of your own: what is wrong with them, in plain words."""

from .network import check_network
from .objective import check_objective

__all__ = ["check_network", "check_objective"]
