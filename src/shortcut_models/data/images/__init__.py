"""Images from folders, tar shards, arrays and tables, as uint8 arrays or read where they are."""

from .cache import ImageSet
from .in_place import InPlaceSet
from .loading import ImageSource, Reading

__all__ = ["ImageSet", "ImageSource", "InPlaceSet", "Reading"]
