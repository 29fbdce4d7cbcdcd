"""Measures of samples against real data. None of them needs a network."""

from .frechet import Moments, frechet_distance, gaussian_fit
from .kernel import kernel_distance
from .neighbours import manifold_measures
from .transport import sliced_wasserstein

__all__ = ["Moments", "frechet_distance", "gaussian_fit", "kernel_distance", "manifold_measures", "sliced_wasserstein"]
