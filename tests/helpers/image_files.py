"""Image data of every kind that the images task reads, made of arrays."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from shortcut_models.tasks import Images

SIDE, COUNT, CLASSES = 8, 30, 3
NAMES = ("ant", "bee", "cow")


# What the files are made of: images [n, H, W] or [n, H, W, 3] that all differ, and labels.


def pictures(count: int = COUNT, side: int = SIDE, colour: bool = False, seed: int = 0) -> np.ndarray:
    shape = (count, side, side, 3) if colour else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def some_labels(count: int = COUNT) -> np.ndarray:
    return np.arange(count) % CLASSES


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def pack(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def members(images: np.ndarray, labels: np.ndarray | None = None, start: int = 0) -> dict[str, bytes]:
    found = {}
    for i, image in enumerate(images, start):
        found[f"{i:05d}.png"] = png(image)
        if labels is not None:
            found[f"{i:05d}.cls"] = b"%d\n" % labels[i - start]
    return found


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def make_folder(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    for i, image in enumerate(images):
        path = root / (NAMES[labels[i]] if labels is not None else "") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return str(root)


def make_tar(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return str(pack(root / "all.tar", members(images, labels)))


def make_tar_gz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return str(pack(root / "all.tar.gz", members(images, labels), "w:gz"))


def make_shards(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    for k in range(3):
        rows = slice(10 * k, 10 * k + 10)
        pack(root / f"part-{k:03d}.tar", members(images[rows], None if labels is None else labels[rows], 10 * k))
    return str(root)


def make_pattern(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return make_shards(root, images, labels) + "/part-{000..002}.tar"


def make_glob(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    return make_shards(root, images, labels) + "/part-*.tar"


def make_npz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "all.npz", images=images, **({} if labels is None else {"labels": labels}))
    return str(root / "all.npz")


def make_float_npz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    found = {} if labels is None else {"y": labels.astype(float)[:, None]}
    np.savez_compressed(root / "all.npz", pixels=(images / 255).astype(np.float32), **found)
    return str(root / "all.npz")


def make_idx(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    (root / "train-images-idx3-ubyte").write_bytes(idx(images))
    if labels is not None:
        (root / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return str(root / "train-images-idx3-ubyte")


def make_idx_gz(root: Path, images: np.ndarray, labels: np.ndarray | None) -> str:
    make_idx(root, images, labels)
    for path in list(root.iterdir()):
        path.with_name(path.name.replace("-idx", ".idx") + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return str(root)


MAKERS = [
    make_folder,
    make_tar,
    make_tar_gz,
    make_shards,
    make_pattern,
    make_glob,
    make_npz,
    make_float_npz,
    make_idx,
    make_idx_gz,
]
Maker = Callable[[Path, np.ndarray, "np.ndarray | None"], str]


def contents(task: Images, split: str) -> list[tuple[bytes, int]]:
    """The images of a split, as (bytes in [H, W, C] order, label)."""
    data = task.dataset(split)
    batch = data.__getitems__(list(range(len(data))))
    assert batch.data.dtype == torch.uint8
    labels = batch.cond["label"].tolist() if "label" in batch.cond else [-1] * len(batch)
    pixels = batch.data.permute(0, 2, 3, 1).numpy()
    return [(image.tobytes(), label) for image, label in zip(pixels, labels, strict=True)]
