"""Latents of an autoencoder: the task, the autoencoder, the shards, and encoding images into them."""

from .task import Latents

__all__ = ["Latents"]
