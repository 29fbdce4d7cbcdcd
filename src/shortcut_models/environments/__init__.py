"""The environments, by name. A new one is a file here and a line below."""

from .base import Environment, Observation

__all__ = ["Environment", "Observation"]
