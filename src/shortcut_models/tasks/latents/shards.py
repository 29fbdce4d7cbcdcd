"""Latents on disk: shards of safetensors, and an index of them.

`index.json` is written first and holds the fields of `Index`. A shard `train-00007.safetensors` holds, for its rows,

- latents, float16 [n, views, statistics, channels, height, width]: of the image and, where there are two views, of its
  mirror image; the mean of the posterior and, where there are two statistics, its standard deviation;
- pictures, uint8 [n, channels, side, side]: the images themselves, shrunk, for the pixel judge;
- labels, int64 [n], where there are classes;

and in its header their SHA-256. Each shard is written whole or not at all, so the missing shards are the work left.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Shaped, UInt8
from torch import Tensor

from ...base import Batch
from ...config import NonNegativeInt, PositiveInt, check, from_dict, to_dict
from ...data.arrays import BatchDataset
from ...data.images import ImageSet
from ...errors import UserError
from ...system.files import write_atomically, write_json
from ...system.hashing import HASH, hash_tensors
from ..pixel_metrics import SIDE

INDEX = "index.json"
FORMAT = "shortcut-models latents 2"
_OTHER = "use the same data and options to resume, or choose another directory with --out"
_AGAIN = "remove it, and run the same `shortcut encode` again"


@dataclass(frozen=True)
class Index:
    data: str  # path of the images, which may have moved since
    vae: str  # folder or Hub name of the VAE, which may have moved since
    vae_kind: str  # its class in diffusers
    vae_sha256: str  # SHA-256 of its weights
    image_size: PositiveInt  # side of the images in pixels
    latent_shape: tuple[int, ...]  # channels, height and width of a latent
    statistics: PositiveInt  # 2: mean and standard deviation of the posterior; 1: the mean alone, without deviation
    flips: bool  # whether it has the mirror images of training images too
    classes: NonNegativeInt  # number of classes; 0 without labels
    class_names: tuple[str, ...]  # names of the classes, if they have names
    images_sha256: str  # SHA-256 of the images, see `Images`
    train: PositiveInt  # number of training images
    test: PositiveInt  # number of held-out images
    shard_size: PositiveInt  # images in a shard
    notes: tuple[str, ...] = ()  # what was said of the images when they were encoded

    def __post_init__(self) -> None:
        check(self)

    def views(self, split: str) -> int:
        return 2 if self.flips and split == "train" else 1

    def shards(self, split: str) -> list[tuple[str, range]]:
        """Return the files of a split, each with its rows."""
        rows, size = range(getattr(self, split)), self.shard_size
        return [(f"{split}-{start // size:05d}.safetensors", rows[start : start + size]) for start in rows[::size]]

    def write(self, folder: Path) -> None:
        """Write the index, or check that the folder has this very one. Raises UserError if it holds anything else."""
        if not is_encoded(folder):
            refuse_other_content(folder)
            write_json(folder / INDEX, {"format": FORMAT} | to_dict(self))
            return
        found, made = read_index(folder), f"{folder} holds latents made with"
        if found.vae_sha256 != self.vae_sha256:
            raise UserError(f"{made} the VAE {found.vae}, and {self.vae} is another: {_OTHER}")
        before = to_dict(found)
        for name, value in to_dict(self).items():
            if name in ("data", "vae", "notes") or before[name] == value:  # these paths may have changed
                continue
            if name == "images_sha256":
                raise UserError(f"{folder} holds latents of other images than {self.data} does now: {_OTHER}")
            raise UserError(f"{made} {name.replace('_', '-')} {before[name]}, not {value}: {_OTHER}")


def refuse_other_content(folder: Path) -> None:
    """Raise UserError if a folder holds something else than latents."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose a directory with --out")
    if folder.is_dir() and not is_encoded(folder) and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise UserError(f"{folder} is not empty and is not a folder of latents: choose another with --out")


def is_encoded(path: Path) -> bool:
    return (path / INDEX).is_file()


def read_index(folder: Path) -> Index:
    """Return the index of a folder of latents. Raises UserError if it is damaged or of another kind."""
    try:
        entry = json.loads((folder / INDEX).read_bytes())
        if entry.pop("format") == FORMAT:
            return from_dict(Index, entry)
    except (ValueError, TypeError, KeyError, AttributeError):  # UserError is a ValueError
        pass
    raise UserError(f"{folder / INDEX} is damaged or no index of latents: encode the images again, or name another")


def shrunk(images: UInt8[Tensor, "b c h w"]) -> UInt8[Tensor, "b c s s"]:
    """Return images at most as large as the pixel judge uses, by averaging."""
    if images.shape[-1] <= SIDE:
        return images
    return F.interpolate(images.float(), size=SIDE, mode="area").round().to(torch.uint8)


def write_shard(path: Path, tensors: dict[str, Tensor]) -> None:
    write_atomically(path, safetensors.torch.save(tensors, {HASH: hash_tensors(tensors)}))


class LatentDataset(BatchDataset):
    """The latents of a split, mapped from disk; a shard is compared with its hash at its first use."""

    def __init__(self, folder: Path, index: Index, split: str, *, labelled: bool, mirrored: bool) -> None:
        """Open the shards, or raise UserError; labelled, mirrored: return labels and mirror images if there are any."""
        files, views = index.shards(split), index.views(split)
        shape = (views, index.statistics, *index.latent_shape)
        found = [_Shard.open(folder / name, (len(rows), *shape)) for name, rows in files]
        self.latents = [shard.tensors["latents"][:, : views if mirrored else 1] for shard in found]
        self.pictures = [shard.tensors["pictures"] for shard in found]
        has_labels = labelled and index.classes > 0
        self.labels = torch.cat([shard.tensors["labels"] for shard in found]) if has_labels else None
        self.unchecked = dict(enumerate(found))
        self.shard_size, self.count = index.shard_size, sum(len(rows) for _, rows in files)

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.latents)

    def _rows(self, parts: list[Tensor], indices: list[int]) -> Shaped[Tensor, "n *rest"]:
        made = torch.empty(len(indices), *parts[0].shape[1:], dtype=parts[0].dtype)
        for place, index in enumerate(indices):
            shard, row = divmod(index, self.shard_size)
            if shard in self.unchecked:
                self.unchecked[shard].check()
                del self.unchecked[shard]
            made[place] = parts[shard][row]
        return made

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return latents, float16 [b, views, statistics, channels, height, width], and labels if there are any."""
        cond = {} if self.labels is None else {"label": self.labels[torch.as_tensor(indices)]}
        return Batch(self._rows(self.latents, indices), cond)

    def images(self, rows: np.ndarray, classes: int) -> ImageSet:
        """Return the shrunk images of some rows."""
        pixels = self._rows(self.pictures, rows.tolist()).numpy()
        labels = None if self.labels is None else self.labels.numpy()[rows]
        return ImageSet(pixels, labels, classes, ())


class _Shard(NamedTuple):
    """A shard that is mapped and not yet read."""

    path: Path
    tensors: dict[str, Tensor]
    sha256: str | None  # of the tensors, in the header

    @classmethod
    def open(cls, path: Path, shape: tuple[int, ...]) -> "_Shard":
        """Map a shard. Raises UserError if it is missing or damaged, or its latents have another shape."""
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                sha256 = (file.metadata() or {}).get(HASH)
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            again = "run the same `shortcut encode` again to its end"
            raise UserError(f"{path} is missing: {again}, or copy the whole folder") from None
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(f"{path} is damaged ({error}): {_AGAIN}") from None
        if "latents" not in found or tuple(found["latents"].shape) != shape or math.prod(shape) == 0:
            raise UserError(f"{path} does not fit the index beside it: {_AGAIN}")
        return cls(path, found, sha256)

    def check(self) -> None:
        """Read the shard, and raise UserError if it does not have its hash."""
        if hash_tensors(self.tensors) != self.sha256:
            raise UserError(f"{self.path} is damaged (its content does not match its hash): {_AGAIN}")
