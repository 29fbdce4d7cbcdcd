"""Images in arrays: .npz files, and idx files such as those of MNIST."""

import contextlib
import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import UserError
from .examples import Examples, ImageFiles, count_classes
from .labels import check_labels
from .notes import Notes

_IMAGES = ("images", "x", "image", "imgs", "img", "data", "pixels")
_LABELS = ("labels", "y", "label", "targets", "target", "classes", "class", "cls")
_VAL = ("val", "valid", "validation")
_SPLITS = {"train", "test", *_VAL}
Arrays = np.lib.npyio.NpzFile


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Arrays]:
    try:
        with open(path, "rb") as raw, Arrays(raw) as file:
            yield file
    except UserError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged or not an .npz file ({error}): write it again with numpy.savez") from None


def _named(file: Arrays, names: tuple[str, ...], split: str) -> str | None:
    """Return the array that has one of the names, in any case, or of several splits images_SPLIT or SPLIT_images."""
    wanted = [{name, split} - {""} for name in names]
    return next((found for words in wanted for found in file if set(found.lower().split("_")) == words), None)


def npz_splits(path: Path) -> dict[str, str]:
    """Return {"train": the word for it in the names of arrays}, and "test" likewise; {"train": ""} for one split."""
    with _opened(path) as file:
        words = [word for word in ("train", "test", *_VAL) if _named(file, _IMAGES, word)]
    return dict(zip(("train", "test"), words, strict=False)) if "train" in words else {"train": ""}


def read_npz(files: ImageFiles) -> Examples:
    path, split = files.files[0], files.inner
    with _opened(path) as file:
        images, labels = (_named(file, names, split) for names in (_IMAGES, _LABELS))
        candidates = [images] if images else [name for name, array in file.items() if array.ndim in (3, 4)]
        if len(candidates) != 1:
            held = ", ".join(file) or "nothing"
            raise UserError(f"{path} must hold an array named images, [n, H, W] or [n, H, W, C]; it holds {held}")
        if labels is None and candidates == ["arr_0"] and "arr_1" in file:
            labels = "arr_1"  # numpy.savez(path, images, labels), as guided-diffusion writes them
        found = _examples(path, file[candidates[0]], path, file[labels] if labels else None)
        read = {candidates[0], labels}
        # Arrays of the other splits are theirs to read, or to pass over.
        others = [name for name in file if name not in read and not (split and _SPLITS & {*name.lower().split("_")})]
        remarks = [f"the array {name} {list(file[name].shape)} is not read" for name in others]
        used = {"train", "test"} if _named(file, _IMAGES, "test") else {"train", *_VAL}
        unused = sorted({*_VAL} - used) if split == "train" else []
        remarks += [f"the {word} part is not used" for word in unused if _named(file, _IMAGES, word)]
    return replace(found, notes=Notes(remarks=tuple(remarks), labels=f"array {labels}" if labels else ""))


def _uint8(path: Path, images: np.ndarray) -> np.ndarray:
    """Return images [n, H, W] or [n, H, W, C] in uint8, from uint8 or floats in [0, 1]."""
    shape = images.shape
    fits = images.ndim in (3, 4) and shape[3:] in ((), (1,), (3,), (4,))
    if not fits and images.ndim == 4 and shape[1] in (1, 3):
        raise UserError(f"{path}: images are [n, C, H, W]: transpose them to [n, H, W, C]")
    if not fits or 0 in shape:
        raise UserError(f"{path}: images must be [n, H, W] or [n, H, W, C] with C 1, 3 or 4, not {list(shape)}")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{path}: images must be uint8, or floats from 0 to 1, not {images.dtype}: convert them")
    if not np.isfinite(images).all():
        raise UserError(f"{path}: images hold NaN or infinite values: repair or remove those images")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise UserError(f"{path}: float images must be from 0 to 1, not from {low:g} to {high:g}: rescale them")
    return np.rint(images.astype(np.float32) * 255).astype(np.uint8)


def _examples(path: Path, images: np.ndarray, labels_path: Path, numbers: np.ndarray | None) -> Examples:
    images = _uint8(path, images)
    labels = None if numbers is None else check_labels(labels_path, numbers, len(images))
    if images.shape[3:] == (1,):
        images = images[..., 0]
    names = [f"{path.name}[{i}]" for i in range(len(images))]
    return Examples(path.parent, names, lambda i: Image.fromarray(images[i]), labels, count_classes(labels))


def read_idx(files: ImageFiles) -> Examples:
    path, labels = files.files[0], files.files[-1]
    pixels = _idx_array(path)
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise UserError(f"{path} holds an array {list(pixels.shape)}, not images [n, H, W]: pass the images' file")
    return _examples(path, pixels, labels, None if labels == path else _idx_array(labels))


def _idx_array(path: Path) -> np.ndarray:
    """Return the array of an idx file: two zero bytes, 8 for uint8, the number of axes, their lengths, the values."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            raw = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise UserError(f"{path} is damaged: its gzip stream ends early or is broken; copy it again") from None
    start = 4 + 4 * raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else len(raw) + 1
    if start > len(raw):
        raise UserError(f"{path} is not an idx file of bytes (it must start with 00 00 08): copy it again")
    shape = np.frombuffer(raw, ">u4", raw[3], offset=4).tolist()
    if len(raw) - start != math.prod(shape):
        raise UserError(f"{path} holds {len(raw) - start} values where its head says {math.prod(shape)}: copy it again")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
