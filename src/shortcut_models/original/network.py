"""Networks of the paper's own code: read from its checkpoints, and converted to and from its names and layout.

A checkpoint is a pickle of {"train_state": {"params", "params_ema", "opt_state", "step"}}, with parameters in nested
dicts named as Flax names them. The result is a DiT (`DiTConfig.original`), which computes the same numbers.
"""

import heapq
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..base import Label, Network
from ..errors import UserError
from ..networks import DiT, DiTConfig
from .arrays import Stored, read_checkpoint
from .unpickle import CHOOSE

UNUSED = "Embed_0.embedding"  # a table of log-variances that the original does not use
FEATURES = 256  # sinusoids of a time
MOST_TOKENS = 2**20  # of an image
MOST_BLOCKS = 1024
PATCHES, OUTLET, LABELS = "PatchEmbed_0.Conv_0", "FinalLayer_0.Dense_1", "LabelEmbedder_0.Embed_0.embedding"


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network, as the shapes of its arrays show them."""

    width: int
    depth: int
    patch_size: int
    channels: int
    hidden: int  # units of the MLP
    classes: int

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Sizes":
        """Derive the sizes from the shapes. Raises UserError if an array is missing or has other axes."""

        def shape(name: str, axes: int) -> tuple[int, ...]:
            if name not in shapes:
                raise UserError(f"it does not have the array {name}: {CHOOSE}")
            found = shapes[name]
            if len(found) != axes or 0 in found:
                raise UserError(f"{name} has shape {found}, not {axes} axes: choose a checkpoint of the original")
            return found

        patch_size, _, channels, width = shape(f"{PATCHES}.kernel", 4)
        hidden = shape("DiTBlock_0.MlpBlock_0.Dense_0.kernel", 2)[1]
        blocks = {name.split(".")[0] for name in shapes if re.match(r"DiTBlock_\d+\.", name)}
        if len(blocks) > MOST_BLOCKS:
            raise UserError(f"it has more than {MOST_BLOCKS:,} blocks: {CHOOSE}")
        return cls(width, len(blocks), patch_size, channels, hidden, shape(LABELS, 2)[0] - 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every array of the original's network of these sizes, without the unused one."""
        width, p, c = self.width, self.patch_size, self.channels
        units = {"proj_in": (0, 0), "proj_out": (width, p * p * c), "modulation": (width, 2 * width)}
        for name in ("time", "level"):
            units |= {f"embed.{name}.0": (FEATURES, width), f"embed.{name}.2": (width, width)}
        for i in range(self.depth):
            block = {"modulation": (width, 6 * width), "qkv": (width, width), "project": (width, width)}
            block |= {"mlp.0": (width, self.hidden), "mlp.2": (self.hidden, width)}
            units |= {f"blocks.{i}.{name}": size for name, size in block.items()}
        found: dict[str, tuple[int, ...]] = {LABELS: (self.classes + 1, width)}
        for ours, theirs in layers(self.depth):
            for name in theirs:
                found |= {f"{name}.kernel": units[ours], f"{name}.bias": units[ours][1:]}
        return found | {f"{PATCHES}.kernel": (p, p, c, width), f"{PATCHES}.bias": (width,)}

    def check(self, heads: int, image_size: int) -> None:
        """Raise UserError if sizes that no array shows do not fit."""
        for name, value in (("num-heads", heads), ("image-size", image_size)):
            if type(value) is not int or value < 1:
                raise UserError(f"{name} must be a whole number of at least 1, not {value!r}")
        if self.width % heads:
            other = f"num-heads {heads} does not divide its width {self.width}"
            raise UserError(f"{other}: pass the number it was trained with")
        if image_size % self.patch_size:
            other = f"image-size {image_size} is not a multiple of its patch size {self.patch_size}"
            raise UserError(f"{other}: pass the size it was trained with")
        if (image_size // self.patch_size) ** 2 > MOST_TOKENS:
            raise UserError(f"image-size {image_size} makes more than {MOST_TOKENS:,} tokens: pass the size in pixels")

    def config(self, heads: int) -> DiTConfig:
        ratio = self.hidden / self.width
        if int(self.width * ratio) != self.hidden:  # rounded down to one unit less
            ratio = (self.hidden + 0.5) / self.width
        return DiTConfig.original(
            width=self.width, depth=self.depth, heads=heads, patch_size=self.patch_size, mlp_ratio=ratio
        )


def layers(depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield our linear layers, each with those of the original that it holds, in order."""
    yield "proj_in", (PATCHES,)
    for name, theirs in (("time", "TimestepEmbedder_0"), ("level", "TimestepEmbedder_1")):
        yield f"embed.{name}.0", (f"{theirs}.Dense_0",)
        yield f"embed.{name}.2", (f"{theirs}.Dense_1",)
    for i in range(depth):
        block = f"DiTBlock_{i}"
        yield f"blocks.{i}.modulation", (f"{block}.Dense_0",)
        yield f"blocks.{i}.qkv", (f"{block}.Dense_2", f"{block}.Dense_1", f"{block}.Dense_3")  # theirs: key first
        yield f"blocks.{i}.project", (f"{block}.Dense_4",)
        yield f"blocks.{i}.mlp.0", (f"{block}.MlpBlock_0.Dense_0",)
        yield f"blocks.{i}.mlp.2", (f"{block}.MlpBlock_0.Dense_1",)
    yield "modulation", ("FinalLayer_0.Dense_0",)
    yield "proj_out", (OUTLET,)


def to_state(arrays: Mapping[str, np.ndarray], sizes: Sizes) -> dict[str, Tensor]:
    """Return our network's state from the original's arrays: kernels transposed, and patches as (c, p, q)."""
    p, c = sizes.patch_size, sizes.channels
    linear = dict(arrays)
    linear[f"{PATCHES}.kernel"] = arrays[f"{PATCHES}.kernel"].transpose(2, 0, 1, 3).reshape(c * p * p, -1)
    for part in ("kernel", "bias"):
        pixels = arrays[f"{OUTLET}.{part}"].reshape(-1, p, p, c).transpose(0, 3, 1, 2)
        linear[f"{OUTLET}.{part}"] = pixels.reshape(*arrays[f"{OUTLET}.{part}"].shape)
    state: dict[str, np.ndarray] = {}
    for ours, theirs in layers(sizes.depth):
        state[f"{ours}.weight"] = np.concatenate([linear[f"{name}.kernel"] for name in theirs], 1).T
        state[f"{ours}.bias"] = np.concatenate([linear[f"{name}.bias"] for name in theirs])
    *_, null = arrays[LABELS]
    if sizes.classes:
        state |= {"conditions.embed.label.weight": arrays[LABELS][:-1], "conditions.null.label": null}
    else:  # what is added for every image alike
        state["embed.level.2.bias"] = state["embed.level.2.bias"] + null
    return {name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in state.items()}


def flat_parameters(network: Network) -> dict[str, np.ndarray]:
    """Return the parameters of a network of the original's variant, under the original's names and in its layout.

    Raises UserError if the network is of another variant.
    """
    if not isinstance(network, DiT) or network.config.variant != "original":
        raise UserError("only a DiT of the original's variant has the original's names: pass DiTConfig.original(...)")
    state = {name: value.detach().float().cpu().numpy() for name, value in network.state_dict().items()}
    p = network.config.patch_size
    names = ("conditions.embed.label.weight", "conditions.null.label")
    rows = [state[name].reshape(-1, network.config.width) for name in names if name in state]
    found = {LABELS: np.concatenate(rows or [np.zeros((1, network.config.width), np.float32)])}
    for ours, theirs in layers(network.config.depth):
        kernels = np.split(state[f"{ours}.weight"].T, len(theirs), 1)
        biases = np.split(state[f"{ours}.bias"], len(theirs))
        for name, kernel, bias in zip(theirs, kernels, biases, strict=True):
            found |= {f"{name}.kernel": kernel, f"{name}.bias": bias}
    width = found[f"{PATCHES}.bias"].shape[0]
    found[f"{PATCHES}.kernel"] = found[f"{PATCHES}.kernel"].reshape(-1, p, p, width).transpose(1, 2, 0, 3)
    for part in ("kernel", "bias"):
        pixels = found[f"{OUTLET}.{part}"]
        lead = pixels.shape[:-1]
        found[f"{OUTLET}.{part}"] = np.moveaxis(pixels.reshape(*lead, -1, p, p), -3, -1).reshape(pixels.shape)
    return {name: np.ascontiguousarray(array) for name, array in sorted(found.items())}


def load_network(path: Path | str, *, num_heads: int, image_size: int, ema: bool = True) -> Network:
    """Load the network of a checkpoint of the original code.

    Args:
        path: the pickle. Nothing in it is run.
        num_heads: attention heads; no array shows them.
        image_size: side of the images or latents in pixels; no array shows it either.
        ema: the average of the parameters, or the parameters themselves.

    Returns:
        A DiT for float32 [b, channels, image_size, image_size] and `{"label": int64 [b]}`, where one more than the
        last class stands for no label.

    Raises UserError if the file is not such a checkpoint, is damaged or hostile, or does not fit the sizes.
    """
    network, _, _ = read_network(Path(path), num_heads=num_heads, image_size=image_size, ema=ema)
    return network


def read_network(path: Path, *, num_heads: int, image_size: int, ema: bool = True) -> tuple[Network, Sizes, int]:
    """Load a network as `load_network`, with its sizes and its number of training steps."""
    arrays, step = read_checkpoint(path, ema=ema)
    try:
        arrays.pop(UNUSED, None)
        sizes = Sizes.of({name: array.shape for name, array in arrays.items()})
        check_shapes(arrays, sizes.shapes())
        sizes.check(num_heads, image_size)
        parameters = {name: _finite(name, array) for name, array in arrays.items()}
        shape = (sizes.channels, image_size, image_size)
        network = sizes.config(num_heads).build(shape, {"label": Label(sizes.classes)} if sizes.classes else {})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    network.load_state_dict(to_state(parameters, sizes))
    return network.eval(), sizes, step


def check_shapes(arrays: Mapping[str, Stored], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError, with the name, for an array that is missing, unknown or of another shape."""
    lacking, unknown = expected.keys() - arrays.keys(), arrays.keys() - expected.keys()
    in_order = lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
    for what, names in (("does not have the", lacking), ("has an unknown", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            named = ", ".join(heapq.nsmallest(3, names, key=in_order)) + more
            raise UserError(f"it {what} array {named}: {CHOOSE}")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise UserError(f"{name} has shape {arrays[name].shape}, not {shape}: {CHOOSE}")


def _finite(name: str, array: Stored) -> np.ndarray:
    with np.errstate(over="ignore"):
        numbers = array.numbers().astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UserError(f"{name} holds numbers that are not finite: choose a checkpoint from before training diverged")
    return numbers
