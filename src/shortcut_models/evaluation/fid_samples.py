"""Features of samples for FID, computed once and cached: work that was stopped resumes."""

import functools
import hashlib
import json
import time
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt64

from ..errors import UserError
from ..models.model import Model
from ..models.parts import describe
from ..randomness import sample_noise
from ..system.files import writing
from ..system.hashing import hash_tensors
from ..tasks import Latents
from .fid_reference import VERSION, Extractor, Features, Images, brightness, image_shape


class SampleFeatures(NamedTuple):
    features: Features
    digests: UInt64[np.ndarray, "n"]  # equal for equal images
    pixel_stats: Float[np.ndarray, "n 2"]  # mean and mean square of its pixels
    seconds: float  # time spent generating, summed over the processes


@dataclass(frozen=True)
class FidSampler:
    """Samples of a model for FID. Sample i depends on (seed, i) and its label alone."""

    model: Model
    network: Extractor
    seed: int
    guidance: float
    folder: Path  # of the cache; it may be deleted at any time

    def check(self, num: int, batch_size: int) -> None:
        """Raise UserError for a number out of its range, or a task that is not one of images."""
        # A batch at a time is held in memory.
        self.model.check_request(min(num, max(batch_size, 1)), self.seed, self.guidance, batch_size)
        image_shape(self.model.task)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a sample. Raises UserError if samples are not images."""
        return image_shape(self.model.task)

    @functools.cached_property
    def weights(self) -> str:
        """The SHA-256 of the model's weights."""
        return hash_tensors(self.model.network.state_dict())

    @functools.cached_property
    def autoencoder(self) -> dict[str, Any] | None:
        """The identity of the autoencoder in use, which need not be that of the training; None without one."""
        if not isinstance(self.model.task, Latents):
            return None
        vae = self.model.task.autoencoder()
        return {"sha256": vae.sha256, "scale": vae.scale.flatten().tolist(), "shift": vae.shift.flatten().tolist()}

    @functools.cached_property
    def key(self) -> str:
        """A hash of all that samples and features depend on, except the number of steps."""
        parts = describe(self.model.objective), describe(self.model.task), self.autoencoder
        facts = [VERSION, self.weights, *parts, self.seed, self.guidance, self.network.fingerprint]
        facts += [] if self.model.precision == "fp32" else [self.model.precision]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def cache(self, steps: int) -> "FeatureCache":
        return FeatureCache(self.folder / self.key / f"{steps}-steps", self.network.size)

    def make(self, cache: "FeatureCache", steps: int, rows: Sequence[int]) -> None:
        begin = time.perf_counter()
        noise = sample_noise(self.seed, rows, self.model.task.shape)
        images = self.model.sample_from(noise, steps, self.model.conditions(rows), self.guidance)
        seconds = time.perf_counter() - begin
        cache.write(rows, images, self.network(images), seconds)


class FeatureCache:
    """A folder of features of samples, with a file for each batch, named by its first sample."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size

    def write(self, rows: Sequence[int], images: Images, features: Features, seconds: float) -> None:
        digests = b"".join(hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images)
        names, light = np.frombuffer(digests, np.uint64), brightness(images)
        with writing(self.folder / f"{min(rows):09d}.npz") as file:
            np.savez(file, rows=rows, features=features, digests=names, light=light, seconds=seconds)

    def _files(self) -> list[dict[str, np.ndarray]]:
        """Return the content of all complete files; others, which a failing disk may leave, are removed."""
        found = []
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as file:
                    held = {name: file[name] for name in ("rows", "digests", "light", "features", "seconds")}
                if held["features"].shape != (len(held["rows"]), self.size):
                    raise ValueError
                found.append(held)
            except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
                warnings.warn(f"{path} is damaged: its samples are made again", stacklevel=2)
                path.unlink(missing_ok=True)
        return found

    def missing(self, num: int) -> list[int]:
        """Return the samples of 0 to num - 1 that are not there yet."""
        here = np.zeros(num, bool)
        for held in self._files():
            here[held["rows"][held["rows"] < num]] = True
        return np.flatnonzero(~here).tolist()

    def read(self, num: int) -> SampleFeatures:
        """Return samples 0 to num - 1, in their order. Raises UserError if one is missing."""
        made = SampleFeatures(np.zeros((num, self.size), np.float32), np.zeros(num, np.uint64), np.zeros((num, 2)), 0.0)
        here, seconds = np.zeros(num, bool), 0.0
        for held in self._files():
            mine = held["rows"] < num
            rows = held["rows"][mine]
            made.features[rows], made.digests[rows] = held["features"][mine], held["digests"][mine]
            made.pixel_stats[rows], here[rows] = held["light"][mine], True
            seconds += float(held["seconds"]) * float(mine.mean())
        if not here.all():
            raise UserError(
                f"{num - int(here.sum())} of {num} samples are not in {self.folder}: run the same command again, "
                f"and with several machines put the run on a disk that all of them see"
            )
        return made._replace(seconds=seconds)
