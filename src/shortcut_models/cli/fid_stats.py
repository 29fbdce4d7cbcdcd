"""The command `shortcut fid-stats`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..config import NonNegativeInt
from .shared import OfImages, OnDevice, check_out


@dataclass(frozen=True, kw_only=True)
class FidStats(OfImages, OnDevice):
    data: str
    """images: a folder, tar shards, .npz or idx files"""
    out: Path
    """file of the statistics, .npz, with arrays mu, sigma, and more"""
    split: Literal["train", "test", "all"] = "all"
    """part of the images: all, those to train on, or those held out"""
    keep: NonNegativeInt = 10_000
    """number of images whose features are kept too, for KID and neighbourhoods"""
    inception: str | None = None
    """TorchScript of the Inception network of 2015, or its https:// address (default: that of the extra `fid`)"""
    inception_sha256: str | None = None
    """SHA-256 that the file of --inception must have, in hexadecimal digits (default: none)"""
    trust_file: bool = False
    """open the file of --inception without a hash; opening TorchScript runs code of the file"""

    def __call__(self) -> None:
        from ..evaluation.fid_reference import measure
        from ..evaluation.inception import Inception
        from ..system.machine import keep_freed_memory, torch_device
        from ..system.progress import say
        from ..tasks import Images

        check_out(self.out, ".npz")
        device = torch_device(self.device)
        given = self.task
        task = Images(self.data, given.image_size, given.channels, 0, skip_damaged=given.skip_damaged).resolve()
        keep_freed_memory()
        say(task.describe_data())
        network = Inception(self.inception, device, sha256=self.inception_sha256, trust=self.trust_file)
        found = measure(task, self.split, network, keep=self.keep)
        found.save(self.out)
        part = {"all": "all", "train": "training", "test": "held-out"}[self.split]
        print(f"{self.out}: {part} {found.count:,} images, {network.size:,} features")
