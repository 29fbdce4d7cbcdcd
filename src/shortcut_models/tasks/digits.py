"""Handwritten digits, 8x8, the real ones inside scikit-learn (UCI): nothing to download."""

import functools
from dataclasses import dataclass
from typing import Annotated, ClassVar

import annotated_types as at
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..base import Label, Task, X
from ..data.arrays import ArrayDataset
from ..metrics import frechet_distance, gaussian_fit, manifold_measures

HELD_OUT = 450  # digits never trained on, a quarter of the 1,797


@functools.cache
def _split() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=HELD_OUT, random_state=0, stratify=labels)
    return {"train": tuple(parts[::2]), "test": tuple(parts[1::2])}


@functools.cache
def _judge():  # type: ignore[no-untyped-def]
    """Return an SVM that names digits, fitted on the real training digits."""
    from sklearn.svm import SVC

    return SVC(C=10, gamma=0.001).fit(*_split()["train"])


@dataclass(frozen=True)
class Digits(Task):
    """8x8 digits with labels; task units are whole numbers from 0 to 16."""

    primary_metric: ClassVar[str] = "pixel_frechet"

    noise: Annotated[float, at.Ge(0)] = 1.75
    """deviation of the noise on training pixels, 0 to 16; 1,347 digits are few, and noise fills in between them"""

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 8, 8)

    @property
    def conditions(self) -> dict[str, Label]:
        return {"label": Label(10)}

    def dataset(self, split: str) -> ArrayDataset:
        images, labels = _split()[split]
        return ArrayDataset(torch.tensor(images).float().reshape(-1, 1, 8, 8), {"label": torch.tensor(labels)})

    def encode(self, raw: Tensor) -> X:
        return raw / 8 - 1

    def augment(self, x: X) -> X:
        """Add noise to each pixel between black and white: training on a kernel density estimate of the digits.

        A large step is learned by regression, which loses the small variations that a digit's neighbours in the
        training set do not explain. Those that noise makes are linear in the network's input, and survive.
        """
        return x + torch.randn_like(x) * (x.abs() < 1) * (self.noise / 8)

    def decode(self, x: X) -> np.ndarray:
        """Return [n, 8, 8] float32, whole numbers from 0 to 16, as scikit-learn's `images`."""
        return ((x.float() + 1) * 8).round().clamp(0, 16)[:, 0].cpu().numpy()

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the fraction of samples in which an SVM sees the label asked for; closeness to the held-out digits.

        pixel_frechet: Fréchet distance of Gaussians fitted to the pixels, from 0 for white to 1 for black.
        """
        flat, real = samples.reshape(len(samples), -1), _split()["test"][0]
        named = labels >= 0
        accuracy = float((_judge().predict(flat[named]) == labels[named]).mean()) if named.any() else float("nan")
        frechet = frechet_distance(*gaussian_fit(real / 16), *gaussian_fit(flat / 16))
        return {"accuracy": accuracy, **manifold_measures(real, flat), "pixel_frechet": frechet}

    def evaluate_real(self, num: int) -> dict[str, float]:
        return super().evaluate_real(num) | {"accuracy": float(_judge().score(*_split()["test"]))}

    def to_pil(self, samples: np.ndarray) -> list[Image.Image]:
        """Return pictures of 8 x 8 pixels, grey: 0 is white and 16 is black."""
        return super().to_pil(_pixels(samples))

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        from ..drawing.sheets import grid

        return grid(_pixels(samples)[..., None], columns, scale=4)


def _pixels(samples: np.ndarray) -> np.ndarray:
    return (255 - samples * 255 / 16).astype(np.uint8)
