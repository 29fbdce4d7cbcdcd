"""Reference statistics of FID: moments of the Inception features of real images, made here or published by others."""

import contextlib
import dataclasses
import hashlib
import itertools
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ..base import Dataset, Task
from ..errors import UserError
from ..metrics import Moments
from ..system.files import cache_folder, writing
from ..system.progress import progress
from ..text import quote

BLOCK = 256  # images of a file in the cache
KEEP = 10_000  # images whose features a file of statistics holds: KID and neighbourhoods need features, not moments
VERSION = 1  # of the computation of features; a change makes the cache stale

Images = UInt8[np.ndarray, "n h w c"]  # 1 channel is grey, 3 are colour
Features = Float[np.ndarray, "n k"]


@runtime_checkable
class Extractor(Protocol):
    """Makes features of images; `shortcut_models.evaluation.inception.Inception` is the one of FID."""

    size: int  # number of features
    fingerprint: str  # identifies its weights

    def __call__(self, images: Images) -> Features: ...


@dataclass(frozen=True)
class Reference:
    """Statistics of the features of real images; None for those that a file from elsewhere does not have."""

    mu: Float[np.ndarray, "k"]
    sigma: Float[np.ndarray, "k k"]
    count: int | None = None  # images that the moments are of
    features: Features | None = None
    """of some of them, a fair sample; in the order of the data, which may be that of the classes: see `some`"""
    pixels: tuple[float, float] | None = None  # mean and deviation of the pixels, 0 to 255
    image_shape: tuple[int, ...] | None = None  # (height, width, channels)
    network: str | None = None  # fingerprint of the network that made the features
    source: str = "the reference"  # what messages call it

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the moments."""
        return hashlib.sha256(self.mu.tobytes() + self.sigma.tobytes()).hexdigest()

    def some(self, num: int) -> Features | None:
        """Return at most `num` of the features, the same random ones each time; None if there are none."""
        if self.features is None or len(self.features) <= num:
            return self.features
        return self.features[np.random.default_rng(0).permutation(len(self.features))[:num]]

    def save(self, path: Path) -> None:
        """Write the statistics that there are as arrays of an .npz file."""
        with writing(path) as file:
            np.savez(file, **{k: v for k, v in vars(self).items() if k != "source" and v is not None})


def read_reference(path: Path) -> Reference:
    """Read statistics. Raises UserError if the file is missing or damaged, or its moments are not valid."""
    try:
        with np.load(path, allow_pickle=False) as file:
            known = {field.name for field in dataclasses.fields(Reference)} - {"source"}
            held: dict[str, np.ndarray] = {name: file[name] for name in known & set(file.files)}
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: make it with `shortcut fid-stats --data D --out {quote(path)}`"
        ) from None
    except (ValueError, EOFError, AttributeError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path} is damaged or not an .npz file: make it with `shortcut fid-stats`") from None
    for name in ("mu", "sigma"):
        if name not in held:
            raise UserError(f"{path} does not have the array {name}: statistics have mu [k] and sigma [k, k]")
    mu, sigma = held.pop("mu"), held.pop("sigma")
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        shapes = f"mu {list(mu.shape)} and sigma {list(sigma.shape)}"
        raise UserError(f"{shapes} in {path} do not fit: they must be [k] and [k, k]")
    if not all(np.issubdtype(x.dtype, np.floating) and np.isfinite(x).all() for x in (mu, sigma)):
        raise UserError(f"mu and sigma in {path} must be finite numbers: make them again with `shortcut fid-stats`")
    if np.abs(sigma - sigma.T).max() > 1e-3 * np.abs(sigma).max():
        raise UserError(f"sigma in {path} is not symmetric, so not a covariance: make it with `shortcut fid-stats`")
    if sigma.size and sigma.diagonal().min() < 0:
        raise UserError(f"sigma in {path} has negative variances: make it again with `shortcut fid-stats`")
    return Reference(mu.astype(np.float64), sigma.astype(np.float64), source=str(path), **_others(path, held, len(mu)))


def _others(path: Path, held: dict[str, np.ndarray], size: int) -> dict[str, Any]:
    """Return what a file has besides its moments. What another tool calls by the same names is left out."""
    found: dict[str, Any] = {}
    for name, array in held.items():
        numbers = array.dtype.kind in "iuf" and bool(np.isfinite(array).all())
        whole = numbers and bool((array >= 1).all() and (array % 1 == 0).all())
        if name == "count" and whole and array.size == 1:
            found[name] = int(array.item())
        elif name == "image_shape" and whole and array.shape == (3,):
            found[name] = tuple(map(int, array))
        elif name == "pixels" and numbers and array.shape == (2,):
            found[name] = tuple(map(float, array))
        elif name == "network" and array.dtype.kind == "U" and array.size == 1:
            found[name] = array.item()
        elif name == "features" and numbers and array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] == size:
            found[name] = array
        else:
            warnings.warn(f"{name} in {path} is not as `shortcut fid-stats` writes it, and is ignored", stacklevel=3)
    return found


def image_shape(task: Task) -> tuple[int, int, int]:
    """Return (height, width, channels) in a task's own units. Raises UserError if these are not images."""
    made = task.decode(torch.zeros(1, *task.shape))
    if made.dtype != np.uint8 or made.ndim != 4 or made.shape[3] not in (1, 3):
        raise UserError("FID is for images, and this task's data are not images: leave out --fid-stats")
    _, height, width, channels = made.shape
    return height, width, channels


def measure(task: Task, split: str, network: Extractor, *, keep: int = KEEP, quiet: bool = False) -> Reference:
    """Compute statistics of the images of a split: "train", "test" or "all".

    Features are cached by the images' content, so that a call that was stopped resumes, and a second one is fast.
    The result holds the features of at most `keep` images. Raises UserError if the task is not one of images.
    """
    shape = image_shape(task)
    parts = [task.dataset(name) for name in (("train", "test") if split == "all" else (split,))]
    count = sum(map(len, parts))
    kept = np.zeros(count, bool)
    kept[np.random.default_rng(0).permutation(count)[:keep]] = True
    moments, features, sums = Moments(network.size), [], np.zeros(2)
    with progress(count, "image", quiet=quiet) as bar:
        for images in itertools.chain.from_iterable(_blocks(task, part) for part in parts):
            made = cached_features(images, network)
            features.append(made[kept[moments.count : moments.count + len(made)]])
            moments.add(made)
            sums += brightness(images).sum(0)
            bar.update(len(images))
    some = np.concatenate(features) if keep else None
    return Reference(moments.mean, moments.covariance, count, some, deviation(sums / count), shape, network.fingerprint)


def _blocks(task: Task, dataset: Dataset) -> Iterator[Images]:
    for begin in range(0, len(dataset), BLOCK):
        rows = range(len(dataset))[begin : begin + BLOCK]
        yield task.decode(task.encode(dataset.__getitems__(list(rows)).data))


def brightness(images: Images) -> Float[np.ndarray, "n 2"]:
    """Return mean and mean square of the pixels of each image."""
    return np.array([[image.mean(), np.square(image, dtype=np.float64).mean()] for image in images])


def deviation(pixel_stats: Float[np.ndarray, "2"]) -> tuple[float, float]:
    """Convert mean and mean square to mean and standard deviation."""
    mean, square = map(float, pixel_stats)
    return mean, max(square - mean**2, 0.0) ** 0.5


def cached_features(images: Images, network: Extractor) -> Features:
    """Return features of images, from the cache if it has these very images."""
    facts = hashlib.blake2b(f"{VERSION} {network.fingerprint} {images.shape}".encode(), digest_size=32)
    name = hashlib.blake2b(np.ascontiguousarray(images).data, digest_size=16, key=facts.digest()).hexdigest()
    path = cache_folder("features") / name[:2] / f"{name}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        found = np.load(path, allow_pickle=False)
        if found.shape == (len(images), network.size):
            return found
    made = network(images)
    try:
        with writing(path) as file:
            np.save(file, made)
    except OSError as error:
        warnings.warn(f"features are not cached: {path.parent}: {error.strerror or error}", stacklevel=2)
    return made
