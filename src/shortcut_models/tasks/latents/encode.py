"""Encode images once, in one or several processes, into shards that are written whole or not at all."""

import contextlib
import hashlib
from pathlib import Path

import torch
from torch import Tensor

from ...base import Dataset
from ...errors import UserError
from ...system.distributed import ALONE, Processes
from ...system.files import cache_folder, locked
from ...system.progress import progress, say
from .. import Images
from .autoencoder import Vae
from .shards import Index, refuse_other_content, shrunk, write_shard

AT_ONCE = 64  # images in a batch


def encode(
    images: Images,
    vae: Vae,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    shard_size: int = 1024,
    processes: Processes = ALONE,
    quiet: bool = False,
) -> Index:
    """Write the latents of all images, or resume a call that was stopped, and return the index of the folder.

    A process that is killed at any moment leaves complete shards only.

    Args:
        images: the images; with `flip`, the mirror images of training images are encoded too.
        out: the folder; see `tasks.latents.shards` for its files.
        shard_size: images in a file, at least 1.
        processes: those that share the work, each some files; each returns when its own share is done.

    Raises UserError if images are damaged or do not fit the autoencoder, or the folder holds something else.
    """
    if shard_size < 1:
        raise UserError(f"--shard-size must be >= 1, not {shard_size}")
    refuse_other_content(out)
    with contextlib.ExitStack() as stack:  # the first process decodes images into the cache, where the others read them
        with contextlib.suppress(OSError):  # without a cache, or without locks in it, each decodes for itself
            cache_folder().mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:16]
            stack.enter_context(locked(cache_folder() / f".{name}.lock", wait=True))
        images = images.resolve()
        data: dict[str, Dataset] = {split: images.dataset(split) for split in ("train", "test")}
    _, size, _ = images.shape
    index = Index(
        data=images.location, vae=vae.name, vae_kind=vae.kind, vae_sha256=vae.sha256,
        image_size=size, latent_shape=vae.latent_shape(size), statistics=1 if vae.deterministic else 2,
        flips=images.flip, classes=images.classes or 0, class_names=images.class_names,
        images_sha256=images.images_sha256, shard_size=shard_size, notes=tuple(images.data_notes),
        **{split: len(data[split]) for split in data},
    )  # fmt: skip
    index.write(out)
    if not quiet and processes.main:
        say(images.describe_data())
    shards = processes.share([(split, *shard) for split in data for shard in index.shards(split)])
    left = [shard for shard in shards if not (out / shard[1]).exists()]
    for _, name, _ in shards:
        for torn in out.glob(f".{name}.*.tmp"):  # left by a process that was killed
            torn.unlink()
    total, missing = (sum(len(rows) for _, _, rows in some) for some in (shards, left))
    with progress(total, "image", quiet=quiet or not processes.main, initial=total - missing) as bar:
        for split, name, rows in left:
            parts = []
            for begin in range(0, len(rows), AT_ONCE):
                some = list(rows[begin : begin + AT_ONCE])
                parts.append(_tensors(data[split], some, vae, index, index.views(split), torch.device(device)))
                bar.update(len(some))
            whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
            write_shard(out / name, whole)
    return index


def _tensors(
    data: Dataset, rows: list[int], vae: Vae, index: Index, views: int, device: torch.device
) -> dict[str, Tensor]:
    batch = data.__getitems__(rows)
    pixels = batch.data.to(device)
    both = [torch.stack(vae.encode(x)[: index.statistics], 1) for x in (pixels, pixels.flip(-1))[:views]]
    latents = torch.stack(both, 1).half()
    if not torch.isfinite(latents).all():
        raise UserError(f"the VAE {vae.name} gives latents that half precision cannot hold: choose another")
    labels = {"labels": batch.cond["label"]} if index.classes else {}
    return {"latents": latents.cpu(), "pictures": shrunk(batch.data)} | labels
