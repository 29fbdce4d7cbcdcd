"""What a policy sees of its observations: which of them, which numbers of a vector, which part of an image."""

from __future__ import annotations

import re

import torch
from jaxtyping import Shaped
from torch import Tensor

from ...errors import UserError

_FORM = re.compile(r"(?P<name>[^\[\]]+)(?P<cut>\[(?P<start>-?\d+)?:(?P<stop>-?\d+)?\])?")


def parse(text: str) -> tuple[str, slice | None]:
    """`state` -> its name and None; `state[:2]` -> its name and which of its numbers. Raises UserError otherwise."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise UserError(f"observations must be names such as image, state or state[:2], not {text!r}")
    start, stop = (None if match[bound] is None else int(match[bound]) for bound in ("start", "stop"))
    return match["name"], slice(start, stop) if match["cut"] else None


def cropped(
    images: Shaped[Tensor, "b history channels height width"], side: int, *, at_random: bool
) -> Shaped[Tensor, "b history channels side side"]:
    """A square of every row: anywhere (torch's global generator), the same for all frames of a row, or the middle."""
    rows, height, width = len(images), *images.shape[-2:]
    if not at_random:
        top, left = (height - side) // 2, (width - side) // 2
        return images[..., top : top + side, left : left + side]
    tops, lefts = (torch.randint(size - side + 1, (rows,)).tolist() for size in (height, width))
    places = zip(images, tops, lefts, strict=True)
    return torch.stack([image[..., top : top + side, left : left + side] for image, top, left in places])
