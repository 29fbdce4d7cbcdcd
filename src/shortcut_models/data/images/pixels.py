"""From an image of any mode, size and orientation to uint8 pixels of one shape."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_GREY = _DEEP | {"1", "L", "LA", "La", "F"}


def is_grey(image: Image.Image) -> bool:
    """Return whether an image can hold no colour."""
    return image.mode in _GREY


def to_pixels(image: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "c s s"]:
    """Turn upright, composite on white, resize the shorter side to `size`, crop the centre.

    Raises ValueError for values whose range is not known, and whatever Pillow raises for a damaged image.
    """
    image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size
    image = _plain(ImageOps.exif_transpose(image), "L" if channels == 1 else "RGB")
    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in mode L or RGB."""
    if image.mode in _DEEP or image.mode == "F":
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if is_grey(image) else "RGB")
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return greyscale of 16 bits, or of floats from 0 to 1, at 8 bits."""
    values = np.asarray(image).astype(np.float64)
    most = 1.0 if image.mode == "F" else 65535.0
    if not (values.min() >= 0 and values.max() <= most):
        raise ValueError(f"values must be from 0 to {most:g}")
    return Image.fromarray(np.rint(values * (255 / most)).astype(np.uint8))
