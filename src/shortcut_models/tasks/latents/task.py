"""Images by their latents: the network gets an autoencoder's latents, which is a tenth of the work."""

import dataclasses
import functools
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import annotated_types as at
import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from ...base import Batch, Dataset, X
from ...config import DERIVED
from ...data.arrays import BatchDataset
from ...data.images import ImageSet
from ...data.images.layout import ACCEPTED
from ...errors import UserError
from ...system.files import absolute_path
from ..image_data import describe_images
from ..images import Images, PictureTask, check_classes
from ..pixel_metrics import FIT_ON, fair_sample
from .autoencoder import Vae, open_vae
from .shards import LatentDataset, is_encoded, read_index, shrunk

AT_ONCE = 64  # images in a batch of the judge


@dataclass(frozen=True)
class Latents(PictureTask):
    """Square images as latents of a VAE, with labels if there are any; task units: uint8 [n, side, side, channels].

    The data is a folder that `shortcut encode` wrote, or images as the task Images reads them, which are then encoded
    again in every step. Either way a training example is a draw from the posterior of one of its views: the image or
    its mirror image. The draws come from torch's global generator, and so depend on (seed, step).
    """

    preview_grid: ClassVar[tuple[int, int]] = (8, 8)
    data_help: ClassVar[str] = ACCEPTED
    primary_metric: ClassVar[str] = "pixel_frechet"

    data: str | None = None
    """a folder written by `shortcut encode`, or images: a folder, tar shards, .npz file or idx files"""
    vae: str | None = None
    """an AutoencoderKL or AutoencoderTiny of diffusers, by folder or Hub name; none: the one of the encoded folder"""
    image_size: Annotated[int | None, at.Ge(1)] = None
    """side in pixels; the shorter side is resized to it and the centre cropped; none: the images' own"""
    classes: Annotated[int | None, at.Ge(0)] = None
    """number of classes; 0 leaves the labels out; none: as many as the data has"""
    class_names: tuple[str, ...] = field(default=(), metadata=DERIVED)
    """names of the classes: filled in from the data"""
    flip: bool = True
    """mirror half of the training images, left to right; wrong for text and digits"""
    skip_damaged: bool = False
    """skip images that cannot be read, and report how many, instead of stopping at the first"""
    latent_shape: tuple[int, ...] = field(default=(), metadata=DERIVED)
    """channels, height and width of a latent: filled in from the data"""
    vae_sha256: str = field(default="", metadata=DERIVED)
    """SHA-256 of the VAE's weights: filled in"""
    images_sha256: str = field(default="", metadata=DERIVED)
    """SHA-256 of the images: filled in from the data"""

    def resolve(self) -> "Latents":
        """Return the same task with its sizes, classes and VAE. Raises UserError if the data or VAE does not fit."""
        if self.data is None:
            raise UserError("latents need data: pass --data with images, or with a folder that `shortcut encode` wrote")
        if "_images" in vars(self):
            return self
        return self._resolve_encoded() if is_encoded(self._path) else self._resolve_images()

    def _resolve_encoded(self) -> "Latents":
        index = read_index(self._path)
        if self.image_size not in (None, index.image_size):
            raise UserError(
                f"{self.data} holds latents of images of side {index.image_size}, not {self.image_size}: "
                f"leave the image size out, or encode the images again"
            )
        name = index.vae if self.vae is None else self.vae
        vae = open_vae(name)
        if vae.sha256 != index.vae_sha256:
            raise UserError(
                f"{self.data} was encoded with {index.vae} ({index.vae_kind}), and {name} is another VAE: "
                f"pass that one with --vae, or encode the images again"
            )
        classes = index.classes if self.classes is None else self.classes
        if classes and not index.classes:
            raise UserError(f"{self.data} does not have labels for {classes} classes: pass --task.classes 0")
        if classes:
            check_classes(self.data, index.classes, classes)
        return dataclasses.replace(
            self, vae=name, image_size=index.image_size, classes=classes, flip=self.flip and index.flips,
            class_names=index.class_names if classes else (), latent_shape=index.latent_shape,
            vae_sha256=index.vae_sha256, images_sha256=index.images_sha256,
        )  # fmt: skip

    def _resolve_images(self) -> "Latents":
        if self.vae is None:
            raise UserError(
                f"{self.data} is not a folder of latents, so its images must be encoded: pass --vae with the folder or "
                f"Hub name of an autoencoder"
            )
        vae = open_vae(self.vae)
        images = self._as_images(vae.image_channels).resolve()
        _, size, _ = images.shape
        resolved = dataclasses.replace(
            self, image_size=size, classes=images.classes, class_names=images.class_names,
            latent_shape=vae.latent_shape(size), vae_sha256=vae.sha256,
            images_sha256=images.images_sha256,
        )  # fmt: skip
        vars(resolved)["_images"] = images
        return resolved

    def describe_data(self) -> str:
        """Return what the images are, what was left out of them, and the shape of latents; "" before `resolve`."""
        if not self.latent_shape:
            return ""
        latents = f"latents {'x'.join(map(str, self.latent_shape))}"
        if is_encoded(self._path):
            index = read_index(self._path)
            return describe_images(self, index.train, index.test, [latents, *index.notes])
        train, test = (len(self._images.dataset(split)) for split in ("train", "test"))
        return describe_images(self, train, test, [latents, *self._images.data_notes])

    @property
    def _path(self) -> Path:
        return Path(absolute_path(str(self.data)))

    def _as_images(self, channels: Literal[1, 3]) -> Images:
        return Images(
            self.data, self.image_size, channels, self.classes, self.class_names, self.flip, self.skip_damaged
        )  # fmt: skip

    @functools.cached_property
    def _images(self) -> Images:
        """The images that are encoded as they are read; see `Task.__getstate__`."""
        return self._as_images(self.autoencoder().image_channels)

    @property
    def shape(self) -> tuple[int, ...]:
        if not self.latent_shape:
            raise UserError("the size of the latents is not known yet: use the task that resolve() returns")
        return self.latent_shape

    def autoencoder(self) -> Vae:
        """Return the autoencoder. Raises UserError if it cannot be loaded or does not fit."""
        if self.vae is None:
            raise UserError("this model does not name the VAE of its latents: pass --vae with it")
        vae = open_vae(self.vae)
        if vae.latent_channels != self.shape[0] or vae.factor * self.shape[1] != self.image_size:
            raise UserError(
                f"the VAE {self.vae} makes images of {self.image_size} pixels into latents of {vae.latent_channels} x "
                f"{(self.image_size or 0) // vae.factor}, not {self.shape[0]} x {self.shape[1]}: pass --vae with the "
                f"one that this model was trained with"
            )
        return vae

    def with_vae(self, vae: str | None) -> "Latents":
        """Return the same task with its VAE at another place; warn if it is another VAE, or raise UserError."""
        task = self if vae is None else dataclasses.replace(self, vae=vae)
        if task.autoencoder().sha256 != self.vae_sha256:
            warnings.warn(f"{task.vae} is not the VAE that this model was trained with", stacklevel=2)
        return task

    def dataset(self, split: str) -> Dataset:
        """Return rows with their views [b, views, ...]: latents of an encoded folder, or uint8 images."""
        if is_encoded(self._path):
            return self._encoded(split)
        return Views(self._images.dataset(split), mirrored=self.flip and split == "train")

    def _encoded(self, split: str) -> LatentDataset:
        return LatentDataset(self._path, read_index(self._path), split, labelled=bool(self.classes), mirrored=self.flip)

    def encode(self, raw: Shaped[Tensor, "b views ..."]) -> X:
        """Draw from one view of uint8 [b, views, C, H, W] or float [b, views, statistics, c, h, w]."""
        view = torch.randint(raw.shape[1], (len(raw),), device=raw.device)
        chosen = raw[torch.arange(len(raw), device=raw.device), view]
        if chosen.dtype == torch.uint8:
            vae = self.autoencoder()
            mean, *spread = vae.encode(chosen)[: 1 if vae.deterministic else 2]
        else:
            mean, *spread = chosen.float().unbind(1)
        # Not randn_like: it draws in memory order, which differs between the two.
        return mean + spread[0] * torch.randn(mean.shape, device=mean.device) if spread else mean

    def decode(self, x: X) -> np.ndarray:
        """Return uint8 images [n, H, W, C], computed a few at a time on the device of x."""
        return self.autoencoder().decode(x)

    def pictures(self, split: str) -> ImageSet:
        """Return the real images, or a random part of them, in the size that the pixel judge uses."""
        if is_encoded(self._path):
            encoded = self._encoded(split)
            return encoded.images(fair_sample(len(encoded), FIT_ON), self.classes or 0)
        data = self._images.dataset(split)
        rows = fair_sample(len(data), FIT_ON).tolist()
        batches = [data.__getitems__(rows[begin : begin + AT_ONCE]) for begin in range(0, len(rows), AT_ONCE)]
        pixels = torch.cat([shrunk(batch.data) for batch in batches]).numpy()
        labels = torch.cat([batch.cond["label"] for batch in batches]).numpy() if self.classes else None
        return ImageSet(pixels, labels, self.classes or 0, self.class_names)


def encoded_images(data: str) -> Latents | None:
    """Return the task of a folder of latents, with its images and without its VAE; None for other data."""
    if not is_encoded(path := Path(data).expanduser()):
        return None
    index = read_index(path)
    return Latents(
        data, vae=index.vae, image_size=index.image_size, classes=index.classes, class_names=index.class_names,
        flip=index.flips, latent_shape=index.latent_shape,
    )  # fmt: skip


class Views(BatchDataset):
    """Images with an axis for their views: the image alone, or with its mirror image."""

    def __init__(self, images: Dataset, *, mirrored: bool) -> None:
        self.images, self.mirrored = images, mirrored

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> Batch:
        batch = self.images.__getitems__(indices)
        views = (batch.data, batch.data.flip(-1)) if self.mirrored else (batch.data,)
        return Batch(torch.stack(views, 1), batch.cond)
