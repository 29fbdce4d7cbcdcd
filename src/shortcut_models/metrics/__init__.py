"""Measures of samples against real data. None of them needs a network."""

from .distances import kernel_distance, sliced_wasserstein
from .frechet import Moments, frechet_distance, gaussian_fit
from .neighbours import manifold_measures

__all__ = ["Moments", "frechet_distance", "gaussian_fit", "kernel_distance", "manifold_measures", "sliced_wasserstein"]
