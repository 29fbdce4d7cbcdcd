"""Latents of an autoencoder: the task, its autoencoder, its shards, and encoding a folder of images."""

from .task import Latents

__all__ = ["Latents"]
