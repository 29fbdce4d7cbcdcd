"""Models that came without their data: what they make is given as it is."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from PIL import Image
from torch import Tensor

from ..base import Dataset, X
from ..config import NonNegativeInt, Rule
from ..errors import UserError
from .images import PictureTask

Sizes = Annotated[tuple[int, ...], Rule(lambda s: len(s) == 3 and min(s) >= 1, "three sizes of at least 1")]


@dataclass(frozen=True)
class ImportedModel(PictureTask):
    """Images or latents of which nothing but the size is known; task units are those of the network.

    It samples, and it cannot be trained or evaluated: there is no data to train on or to compare with.
    """

    shape: Sizes = (3, 32, 32)
    """channels, height and width"""
    classes: NonNegativeInt = 0
    """number of classes; 0 is none"""

    def dataset(self, split: str) -> Dataset:
        raise UserError("this model came without its data: sample from it, or train a recipe on data of your own")

    def evaluate_real(self, num: int) -> dict[str, float]:
        return {}

    def encode(self, raw: Tensor) -> X:
        return raw.float()

    def decode(self, x: X) -> np.ndarray:
        return x.float().cpu().numpy()

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return {}

    def to_pil(self, samples: np.ndarray) -> list[Image.Image]:
        """Return the first three channels as red, green and blue, or the first one as grey; -1 is black, 1 is white."""
        return super().to_pil(_pixels(samples))

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        """Draw the pictures of `to_pil` in rows; small ones are enlarged."""
        return super().draw(_pixels(samples), columns)


def _pixels(samples: np.ndarray) -> np.ndarray:
    shown = samples[:, : 3 if samples.shape[1] >= 3 else 1].transpose(0, 2, 3, 1)
    return ((shown + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
