"""Images in arrays: .npz and MNIST-style idx files."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import UserError
from .examples import Examples

_IMAGES, _LABELS = ("images", "x"), ("labels", "y")
_INNER = {"train": ("train",), "test": ("test", "val")}


def _spellings(names: Sequence[str], inner: str) -> tuple[str, ...]:
    """Return x_train, train_x, ... for images, x, where an .npz file holds several splits."""
    return tuple(f"{a}_{b}" for name in names for a, b in ((name, inner), (inner, name))) if inner else tuple(names)


def _open_npz(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} is damaged or is not an .npz file: write it again with numpy.savez") from None


def npz_splits(path: Path) -> dict[str, str]:
    """Return {"train": the word for it in the arrays' names}, and "test" likewise; {"train": ""} for one split."""
    with _open_npz(path) as file:
        found = {
            split: word
            for split, words in _INNER.items()
            for word in reversed(words)
            if any(name in file.files for name in _spellings(_IMAGES, word))
        }
    return found if "train" in found else {"train": ""}


def read_npz(path: Path, inner: str) -> Examples:
    """Return the images of an .npz file, and its labels if any. Raise UserError where they are not as documented."""
    with _open_npz(path) as file:
        try:
            name = next((name for name in _spellings(_IMAGES, inner) if name in file.files), None)
            images = _only_images(path, file) if name is None else file[name]
            name = next((name for name in _spellings(_LABELS, inner) if name in file.files), None)
            labels = None if name is None else file[name]
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path} is damaged ({error}): write it again with numpy.savez") from None
    return _examples(path, _uint8(path, images), None if labels is None else check_labels(path, labels, len(images)))


def _only_images(path: Path, file: Any) -> np.ndarray:
    candidates = [array for array in (file[name] for name in file.files) if array.ndim in (3, 4)]
    if len(candidates) != 1:
        held = ", ".join(file.files) or "nothing"
        raise UserError(f"{path} must hold an array named images, [n, H, W] or [n, H, W, C]; it holds {held}")
    return candidates[0]


def _uint8(path: Path, images: np.ndarray) -> np.ndarray:
    """Return [n, H, W] or [n, H, W, C] in uint8, from uint8 or floats in [0, 1]."""
    if images.ndim == 4 and images.shape[3] not in (1, 3, 4) and images.shape[1] in (1, 3):
        raise UserError(f"{path}: images are [n, C, H, W]: transpose them to [n, H, W, C]")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)) or 0 in images.shape:
        raise UserError(f"{path}: images must be [n, H, W] or [n, H, W, C] with C 1, 3 or 4, not {list(images.shape)}")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{path}: images must be uint8, or floats from 0 to 1, not {images.dtype}: convert them")
    low, high = float(images.min()), float(images.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{path}: images hold NaN or infinite values: fix or remove those images")
    if low < 0 or high > 1:
        raise UserError(f"{path}: float images must be from 0 to 1, not {low:g} to {high:g}: rescale them")
    return np.rint(images.astype(np.float32) * 255).astype(np.uint8)


def check_labels(path: Path, labels: np.ndarray, count: int) -> np.ndarray:
    """Return labels as int64 [count]. Raise UserError where they are not whole numbers from 0, one an image."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise UserError(f"{path}: labels must be one whole number an image, [{count}], not {list(labels.shape)}")
    numeric = np.issubdtype(labels.dtype, np.integer) or np.issubdtype(labels.dtype, np.floating)
    if not numeric or not np.isfinite(labels).all() or (labels != np.rint(labels)).any() or (labels < 0).any():
        raise UserError(f"{path}: labels must be whole numbers from 0 (classes 0, 1, 2, ...): number the classes so")
    return labels.astype(np.int64)


def _examples(path: Path, images: np.ndarray, labels: np.ndarray | None) -> Examples:
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    classes = 0 if labels is None else int(labels.max()) + 1
    names = [f"{path.name}[{i}]" for i in range(len(images))]
    return Examples(path.parent, names, lambda i: Image.fromarray(images[i]), labels, classes)


def read_idx(images: Path, labels: Path | None) -> Examples:
    """Return the images of an idx file and the labels of another. Raise UserError where a file is not one."""
    pixels = _idx_array(images)
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise UserError(f"{images} holds an array {list(pixels.shape)}, not images [n, H, W]: pass the images' file")
    found = None if labels is None else check_labels(labels, _idx_array(labels), len(pixels))
    return _examples(images, _uint8(images, pixels), found)


def _idx_array(path: Path) -> np.ndarray:
    """Read the array of an idx file: two zero bytes, a type (8: uint8), the number of axes, their lengths, values."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            raw = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UserError(f"{path} is damaged: its gzip stream ends early or is broken; copy it again") from None
    if raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise UserError(f"{path} is not an idx file of bytes (it must start with 00 00 08): copy it again")
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4).tolist()
    start = 4 + 4 * raw[3]
    if len(raw) - start != math.prod(shape):
        raise UserError(f"{path} holds {len(raw) - start} values where its head says {math.prod(shape)}: copy it again")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
