"""Autoencoders between images and latents: any AutoencoderKL or AutoencoderTiny of Hugging Face's diffusers."""

import contextlib
import functools
import json
import math
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...errors import UserError, first_line
from ...system.defaults import torch_defaults
from ...system.hashing import hash_tensors

KINDS = ("AutoencoderKL", "AutoencoderTiny")
PIXELS_AT_ONCE = 2**20  # in a batch, 16 images of 256x256: this bounds the memory, and does not change results
WEIGHTS, VARIANT = "diffusion_pytorch_model.safetensors", r"diffusion_pytorch_model\.(\w+)\.safetensors"
ACCEPTED = "pass --vae with the folder of an AutoencoderKL or AutoencoderTiny, or its name on the Hugging Face Hub"

Images = UInt8[Tensor, "b c height width"]
Latents = Float[Tensor, "b k h w"]


class Vae:
    """An autoencoder: images to the posterior of their latents and back, in float32.

    Latents are in the units that a network is trained on, with a standard deviation near 1: (z - shift) * scale of
    what the autoencoder itself calls z, with the shift and scale of its config.json.
    """

    def __init__(self, network: Any, name: str) -> None:
        """Wrap an autoencoder; name: its name in messages. Raises UserError if input and output channels differ."""
        config = network.config
        self.network, self.name = network.eval().requires_grad_(False), name
        self.kind = type(network).__name__
        self.deterministic = self.kind == "AutoencoderTiny"
        """whether the posterior is a point, with a standard deviation of 0"""
        if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
            raise UserError(
                f"the VAE {name} turns images of {config.in_channels} channels into images of {config.out_channels}: "
                f"choose one for grey or colour images"
            )
        self.image_channels: Literal[1, 3] = config.in_channels
        self.latent_channels: int = config.latent_channels
        widths = config.block_out_channels if self.kind == "AutoencoderKL" else config.encoder_block_out_channels
        self.factor = 2 ** (len(widths) - 1)
        """ratio of the sides of an image and its latent"""
        scale = torch.tensor([config.scaling_factor], dtype=torch.float32)
        shift = torch.tensor([config.get("shift_factor") or 0.0])
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is not None and std is not None:  # for each channel, in place of a shift
            scale, shift = scale / torch.tensor(std), torch.tensor(mean)
        self.scale, self.shift = scale.view(-1, 1, 1), shift.view(-1, 1, 1)

    @functools.cached_property
    def sha256(self) -> str:
        """The SHA-256 of the weights."""
        return hash_tensors(self.network.state_dict())

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """Return the shape of a square image's latent. Raises UserError if the side is not a multiple of `factor`."""
        if image_size % self.factor:
            raise UserError(
                f"images of side {image_size} do not fit the VAE {self.name}: "
                f"choose an image size that is a multiple of {self.factor}"
            )
        side = image_size // self.factor
        return (self.latent_channels, side, side)

    @torch_defaults()
    @torch.no_grad()
    def encode(self, images: Images) -> tuple[Latents, Latents]:
        """Return mean and standard deviation, float32, on the images' device. Raises UserError if they do not fit."""
        if images.shape[1] != self.image_channels:
            raise UserError(f"the VAE {self.name} takes {self.image_channels} channels, not {images.shape[1]}")
        for side in images.shape[2:]:
            self.latent_shape(side)
        self.network.to(images.device)
        parts = [self._posterior(part.float() / 127.5 - 1) for part in _split(images, math.prod(images.shape[2:]))]
        mean, std = (torch.cat(some) for some in zip(*parts, strict=True))
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all()):
            raise UserError(f"the VAE {self.name} gives latents that are not finite: choose another")
        return (mean - self.shift.to(mean)) * self.scale.to(mean), std * self.scale.to(std)

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            found = self.network.encode(x)
        if self.deterministic:
            return found.latents, torch.zeros_like(found.latents)
        return found.latent_dist.mean, found.latent_dist.std

    @torch_defaults()
    @torch.no_grad()
    def decode(self, latents: Latents) -> UInt8[np.ndarray, "b height width c"]:
        """Return the images of latents, computed on their device. Raises UserError for latents of other channels."""
        if latents.shape[1] != self.latent_channels:
            raise UserError(
                f"the VAE {self.name} decodes latents of {self.latent_channels} channels, not {latents.shape[1]}: "
                f"pass --vae with the one that made them"
            )
        self.network.to(latents.device)
        made = []
        for part in _split(latents.float(), math.prod(latents.shape[2:]) * self.factor**2):
            with torch.autocast(part.device.type, enabled=False):
                x = self.network.decode(part / self.scale.to(part) + self.shift.to(part)).sample
            pixels = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            made.append(pixels.permute(0, 2, 3, 1).contiguous().cpu())
        return torch.cat(made).numpy()


def _split(tensors: Tensor, pixels: int) -> tuple[Tensor, ...]:
    """Split a batch into parts that fit into memory; pixels: of one image."""
    return tensors.split(max(1, PIXELS_AT_ONCE // pixels))


def open_vae(name: str) -> Vae:
    """Load the VAE of a folder or of a name on the Hub to the CPU, once per process, or raise UserError."""
    path = os.path.abspath(os.path.expanduser(name))
    return _open(path if os.path.exists(path) else name)


@functools.lru_cache(maxsize=2)
@torch_defaults(gradients=True)
def _open(name: str) -> Vae:
    try:
        import diffusers
    except ImportError:
        raise UserError("latents need an extra: pip install 'shortcut-models[diffusion]'") from None
    if os.path.isfile(name):
        raise UserError(f"{name} is a file: {ACCEPTED}")
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+(/[\w.-]+)?", name) and not name.startswith(".")
    if not os.path.isdir(name) and not on_hub:
        raise UserError(f"there is no VAE in {name}: {ACCEPTED}")
    kind, place = _find(name)
    with _quiet():
        try:
            network, found = _read_network(getattr(diffusers, kind), place)
        except (OSError, ValueError, RuntimeError, TypeError, safetensors.SafetensorError) as error:
            raise UserError(f"the VAE {name} cannot be read ({first_line(error)}): {ACCEPTED}") from None
    odd = [*found["missing_keys"], *found["mismatched_keys"], *found["unexpected_keys"]]
    if odd:
        raise UserError(f"the weights of the VAE {name} do not fit its config.json ({odd[0]}): {ACCEPTED}")
    return Vae(network, name)


def _read_network(cls: Any, place: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """Return a network in float32, and what did not fit, from a place on the Hub with half-precision weights, too."""
    how = place | {"use_safetensors": True, "low_cpu_mem_usage": False, "output_loading_info": True}
    try:
        network, found = cls.from_pretrained(**how)
    except OSError:
        if os.path.isdir(place["pretrained_model_name_or_path"]):
            raise
        network, found = cls.from_pretrained(**how, variant="fp16")
    return network.float(), found


def _find(name: str) -> tuple[str, dict[str, str]]:
    """Return the kind of a VAE, and where diffusers finds it: in a whole pipeline, or a subfolder of one, too."""
    try:
        config, place = _in_folder(Path(name)) if os.path.isdir(name) else _on_hub(name)
        kind = config["_class_name"]
    except FileNotFoundError:
        raise UserError(f"{name} does not have a config.json: {ACCEPTED}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"the VAE {name} does not exist or cannot be read ({first_line(error)}): {ACCEPTED}") from None
    if kind not in KINDS:
        raise UserError(f"{name} is of the kind {kind}: {ACCEPTED}")
    return str(kind), place


def _in_folder(folder: Path) -> tuple[Any, dict[str, str]]:
    if not (folder / "config.json").exists() and (folder / "vae" / "config.json").exists():
        folder /= "vae"
    place, names = {"pretrained_model_name_or_path": str(folder)}, {path.name for path in folder.glob("*.safetensors")}
    variants = [found[1] for name in sorted(names) if (found := re.fullmatch(VARIANT, name))]
    if WEIGHTS not in names and variants:
        place["variant"] = variants[0]
    return json.loads((folder / "config.json").read_bytes()), place


def _on_hub(name: str) -> tuple[Any, dict[str, str]]:
    from diffusers import AutoencoderKL

    owner, repository, *subfolder = name.split("/")
    place = {"pretrained_model_name_or_path": f"{owner}/{repository}"}
    places = [place | {"subfolder": subfolder[0]}] if subfolder else [place, place | {"subfolder": "vae"}]
    errors = []
    for each in places:
        try:
            with _quiet():
                return AutoencoderKL.load_config(**each), each
        except OSError as error:
            errors.append(error)
    raise errors[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log and warnings of diffusers, as our own message follows."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
