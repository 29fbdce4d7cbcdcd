"""Pictures as PNG."""

import io
from pathlib import Path

from PIL import Image

from ..system.files import write_atomically


def encode_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()


def save_png(path: Path, picture: Image.Image) -> None:
    """Write a picture as PNG, whole or not at all."""
    write_atomically(path, encode_png(picture))
