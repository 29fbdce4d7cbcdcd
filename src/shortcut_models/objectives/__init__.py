"""The methods, by name. A new one is a file here and a line below."""

import dataclasses
from typing import Any

from ..base import Objective
from .behaviour_cloning import BehaviourCloning
from .consistency import ConsistencyDistillation, ConsistencyTraining
from .diffusion import Diffusion
from .flow import FlowMatching
from .live_reflow import LiveReflow
from .progressive import ProgressiveDistillation
from .reflow import Reflow
from .shortcut import Shortcut
from .two_model import TwoModel

OBJECTIVES: dict[str, type[Objective]] = {
    "flow": FlowMatching,
    "shortcut": Shortcut,
    "live-reflow": LiveReflow,
    "progressive": ProgressiveDistillation,
    "consistency-distillation": ConsistencyDistillation,
    "consistency-training": ConsistencyTraining,
    "reflow": Reflow,
    "two-model": TwoModel,
    "diffusion": Diffusion,
    "bc": BehaviourCloning,
}


def with_shared_options(given: Objective, method: type[Objective]) -> Objective:
    """Return a method with the options that it shares with another, and its own defaults for the rest."""
    fields: Any = dataclasses.fields
    theirs = {field.name for field in fields(given)} & set(given.shared_options)
    return method().with_options(**{name: getattr(given, name) for name in theirs & set(method.shared_options)})


__all__ = ["OBJECTIVES", "BehaviourCloning", "ConsistencyDistillation", "ConsistencyTraining", "Diffusion",
           "FlowMatching", "LiveReflow", "ProgressiveDistillation", "Reflow", "Shortcut", "TwoModel",
           "with_shared_options"]  # fmt: skip
