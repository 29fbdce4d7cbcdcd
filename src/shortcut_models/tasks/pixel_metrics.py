"""How made images compare with real ones, without a network: a Gaussian fit, neighbours and a classifier on pixels.

A stand-in for the usual Inception features: figures compare runs on the same data, and nothing else.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8

from ..data.images import ImageSet, InPlaceSet
from ..metrics import frechet_distance, gaussian_fit, manifold_measures

COMPONENTS = 64  # principal components of the pixels that are looked at
SIDE = 32  # larger images are shrunk to this side first
FIT_ON, COMPARE_WITH = 10_000, 10_000
"""training images that the components and the classifier are fitted on, and held-out images of the Gaussian"""
NEIGHBOURS_AMONG, NEIGHBOURS = 2_000, 5
"""held-out images whose neighbourhoods are looked at, and the neighbours that make one"""
SVM_CLASSES = 100  # classes up to which the classifier is an SVM; beyond, it is a vote of the nearest neighbours

Features = Float[np.ndarray, "n k"]


def fair_sample(rows: int, count: int) -> Int64[np.ndarray, "m"]:
    """Return at most `count` random ones of so many rows, the same every time, in order."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:count])


def _flat(data: ImageSet | InPlaceSet, rows: np.ndarray) -> Float[np.ndarray, "m pixels"]:
    """Read pixels from 0 to 1 of some images, shrunk to SIDE by averaging; a few at a time, as they may be on disk."""
    parts = []
    for begin in range(0, len(rows), 64):
        pixels, _ = data.read(rows[begin : begin + 64])
        x = torch.tensor(pixels).float()
        if x.shape[-1] > SIDE:
            x = F.interpolate(x, size=SIDE, mode="area")
        parts.append(x.flatten(1).numpy() / 255)
    return np.concatenate(parts)


class PixelJudge:
    """Judges images by the principal components of the training images."""

    def __init__(self, train: ImageSet | InPlaceSet, test: ImageSet | InPlaceSet, *, labelled: bool) -> None:
        from sklearn.decomposition import PCA

        rows = fair_sample(len(train), FIT_ON)
        flat = _flat(train, rows)
        count = min(COMPONENTS, len(flat), flat.shape[1])
        solver = "randomized" if count < min(flat.shape) else "full"
        with np.errstate(invalid="ignore"):  # a single image has no variance
            self.pca = PCA(count, svd_solver=solver, random_state=0).fit(flat)
        held_out = fair_sample(len(test), COMPARE_WITH)
        self.real = self.pca.transform(_flat(test, held_out)).astype(np.float64)
        self.classifier: Any = None
        self.accuracy_real = 0.0
        if labelled and train.labels is not None and test.labels is not None:
            self._fit(self.pca.transform(flat), train.labels[rows], test.labels[held_out])

    def _fit(self, features: Features, labels: Int64[np.ndarray, "n"], real_labels: Int64[np.ndarray, "m"]) -> None:
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.svm import SVC

        seen = len(np.unique(labels))
        if seen > 1:
            # An SVM sees more, but fits one machine to every pair of classes.
            model = SVC(C=10) if seen <= SVM_CLASSES else KNeighborsClassifier(NEIGHBOURS)
            self.classifier = model.fit(features, labels)
            named = self.classifier.predict(self.real[:NEIGHBOURS_AMONG])
            self.accuracy_real = float((named == real_labels[:NEIGHBOURS_AMONG]).mean())

    def __call__(self, samples: UInt8[np.ndarray, "n h w c"], labels: Int64[np.ndarray, "n"]) -> dict[str, float]:
        """Return measures of samples; those that need more samples or labels than there are, are left out.

        pixel_frechet: Fréchet distance of Gaussians, to the held-out images; then `manifold_measures`; accuracy:
        share of samples that the classifier gives the label asked for; accuracy_real: of held-out images likewise.
        """
        drawn = ImageSet(samples.transpose(0, 3, 1, 2), None, 0, ())
        made = self.pca.transform(_flat(drawn, np.arange(len(drawn)))).astype(np.float64)
        measures = {"pixel_frechet": frechet_distance(*gaussian_fit(self.real), *gaussian_fit(made))}
        near = self.real[:NEIGHBOURS_AMONG]
        if min(len(near), len(made)) > NEIGHBOURS:
            measures |= manifold_measures(near, made, NEIGHBOURS)
        asked = labels >= 0
        if self.classifier is not None and asked.any():
            right = self.classifier.predict(made[asked]) == labels[asked]
            measures |= {"accuracy": float(right.mean()), "accuracy_real": self.accuracy_real}
        return measures
