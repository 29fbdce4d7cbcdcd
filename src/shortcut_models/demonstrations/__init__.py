"""Demonstrations, and the formats they are kept in."""

from .episodes import Demonstrations

__all__ = ["Demonstrations"]
