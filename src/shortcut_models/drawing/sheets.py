"""Pictures side by side: grids of images, and sheets of titled pictures."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from .style import INK

SHAPE = 1.6  # width over height of a pleasant sheet


def grid(images: UInt8[np.ndarray, "n h w c"], columns: int, scale: int = 1) -> Image.Image:
    """Return images, grey (c = 1) or colour (c = 3), in rows of `columns` with white gaps, each pixel `scale` wide."""
    n, height, width = images.shape[:3]
    gap, columns = 2, min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows * (height * scale + gap) - gap, columns * (width * scale + gap) - gap, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height * scale + gap), (index % columns) * (width * scale + gap)
        sheet[top : top + height * scale, left : left + width * scale] = image.repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(sheet)


def stack(titles: Sequence[str], pictures: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Return pictures with their titles, row by row, in so many columns or in as many as make a pleasant shape."""
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    size = min(max(width // 26, 13), 24)
    font = ImageFont.load_default(size)
    width = max(width, *(math.ceil(font.getlength(title)) for title in titles))  # a title does not run into the next
    margin, band, count = size, round(1.8 * size), len(pictures)
    if columns is None:
        rows = math.sqrt(count * (width + margin) / (SHAPE * (height + band + margin)))
        columns = -(-count // min(max(round(rows), 1), count))
    rows = -(-count // columns)
    sheet = Image.new(
        "RGB", (columns * (width + margin) + margin, rows * (height + band) + (rows + 1) * margin // 2), "white"
    )
    pen = ImageDraw.Draw(sheet)
    for index, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
        left = margin + (index % columns) * (width + margin)
        top = margin // 2 + (index // columns) * (height + band + margin // 2)
        pen.text((left, top + band / 2), title, INK, font, anchor="lm")
        sheet.paste(picture, (left, top + band))
    return sheet
