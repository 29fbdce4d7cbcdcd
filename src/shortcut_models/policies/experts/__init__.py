"""The experts by environment. To add one, add a file here and a line to EXPERTS."""

from ...errors import UserError
from ..environments import ENVIRONMENTS, CarRacing, family_of
from .base import Expert
from .car_racing.expert import CarRacingExpert
from .human import HumanDriver
from .meta_world import MetaWorldExpert

EXPERTS: dict[str, type[Expert]] = {"car-racing": CarRacingExpert, "meta-world": MetaWorldExpert}

__all__ = ["EXPERTS", "CarRacingExpert", "Expert", "HumanDriver", "MetaWorldExpert", "open_expert"]


def open_expert(environment: str, human: bool = False) -> Expert:
    """Return the expert of an environment, named with or without a task, or a person who drives."""
    family = family_of(environment)
    if human:
        if ENVIRONMENTS[family] is not CarRacing:
            raise UserError(f"{family} cannot be driven by hand: leave --human out, or choose car-racing")
        return HumanDriver()
    if family not in EXPERTS:
        raise UserError(f"{family} has no expert: choose one of {', '.join(EXPERTS)}")
    return EXPERTS[family]()
