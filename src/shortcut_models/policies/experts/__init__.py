"""The experts, by the environment they drive. A new one is a file here and a line below."""

from __future__ import annotations

from ...errors import UserError
from ..environments import ENVIRONMENTS, CarRacing, family_of
from .base import Expert
from .car_racing.expert import CarRacingExpert
from .human import HumanDriver
from .meta_world import MetaWorldExpert

EXPERTS: dict[str, type[Expert]] = {
    "car-racing": CarRacingExpert,
    "meta-world": MetaWorldExpert,
}

__all__ = ["EXPERTS", "CarRacingExpert", "Expert", "HumanDriver", "MetaWorldExpert", "open_expert"]


def open_expert(environment: str, human: bool = False) -> Expert:
    """The expert of an environment, by the environment's name, whatever its task; or a person.

    Raises UserError where there is no such environment, or it has no expert, or a person has no screen.
    """
    family = family_of(environment)
    if human:
        if ENVIRONMENTS[family] is not CarRacing:
            raise UserError(f"nobody can drive {family} by hand: leave --human out, or choose car-racing")
        return HumanDriver()
    if family not in EXPERTS:
        raise UserError(f"{family} has no expert: choose one of {', '.join(EXPERTS)}")
    return EXPERTS[family]()
