"""`fit`, its options, and all that changes while it runs."""

from .options import Training

__all__ = ["Training"]
