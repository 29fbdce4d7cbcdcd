"""The command `shortcut encode`."""

from dataclasses import dataclass
from pathlib import Path

from ..config import NonNegativeInt, PositiveInt
from ..errors import UserError
from ..system.torchrun import DAY
from .shared import OnDevice


@dataclass(frozen=True, kw_only=True)
class Encode(OnDevice):
    data: str
    """images: a path, or hf:NAME, as for training"""
    vae: str
    """folder or Hub name of an AutoencoderKL or AutoencoderTiny"""
    out: Path
    """folder of the latents: new, empty, or that of an earlier call"""
    image_size: PositiveInt | None = None
    """side in pixels (default: the images' own)"""
    classes: NonNegativeInt | None = None
    """number of classes; 0 leaves the labels out (default: that of the data)"""
    flip: bool = True
    """encode the mirror images too, which are wrong for text and digits"""
    skip_damaged: bool = False
    """leave out images that cannot be read, and count them"""
    shard_size: PositiveInt = 1024
    """number of images in a file"""

    def __call__(self) -> None:
        from ..system.distributed import process_group
        from ..system.machine import keep_freed_memory, torch_device
        from ..tasks import Images
        from ..tasks.latents.autoencoder import open_vae
        from ..tasks.latents.encode import encode

        keep_freed_memory()
        vae = open_vae(self.vae)
        try:
            images = Images(
                self.data, self.image_size, vae.image_channels, self.classes,
                flip=self.flip, skip_damaged=self.skip_damaged,
            )  # fmt: skip
        except UserError as error:
            raise UserError(f"--{error}") from None
        with process_group(self.device, DAY) as processes:
            device = torch_device(self.device)
            index = encode(images, vae, self.out, device=device, shard_size=self.shard_size, processes=processes)
        if processes.main:
            print(
                f"{self.out}: {index.train} training and {index.test} held-out images as latents of "
                f"{' x '.join(map(str, index.latent_shape))}; train with --data {self.out}"
            )
