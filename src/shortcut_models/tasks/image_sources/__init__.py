"""Images from folders, tar shards, .npz and idx files, as uint8 arrays."""

from .loading import ImageSet, load

__all__ = ["ImageSet", "load"]
